// Asking the service, and saying numbers and errors as people read them.

const BUSY = 429;
const PATIENCE = 5;

// Send a form, or get without one. Throws an Error with a message for people, and the answer's body if it had one.
export async function ask(address, form) {
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await fetch(address, form ? { method: "POST", body: form } : {});
    } catch {
      throw new Error("the service cannot be reached");
    }
    if (response.ok) return response;
    if (response.status === BUSY && attempt < PATIENCE) {
      await new Promise((resolve) => { setTimeout(resolve, 1000 * attempt); });
      continue;
    }
    const body = await response.json().catch(() => null);
    const error = new Error(body?.error?.message ?? `the service answered ${response.status}`);
    error.body = body;
    throw error;
  }
}

export function percent(share) {
  if (share > 0 && share < 0.0005) return "<\u00a00.1\u00a0%";
  const digits = share > 0.999 && share < 1 ? 2 : 1;
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

export function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

export function sentence(text) {
  return text[0].toUpperCase() + text.slice(1);
}
