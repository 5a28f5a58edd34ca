// Requests to the service, and formatting of numbers and errors.

const BUSY = 429;
const PATIENCE = 5;

// POST a form, or GET without one. Throws an Error with a readable message and, if there is one, the response body.
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
    const error = new Error(body?.error?.message ?? `the service returned status ${response.status}`);
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
