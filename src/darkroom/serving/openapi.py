"""Descriptions of our routes in `/docs.json` (OpenAPI) and `/schema.json` (BentoML's clients).

BentoML describes its typed endpoints itself. Ours read their bodies with limits, so they are described here; a test
compares the descriptions with the responses.
"""

from typing import Any

from darkroom.serving.settings import ServeSettings

Json = dict[str, Any]

_FILE = {"type": "string", "format": "binary"}
_NEIGHBORS: Json = {"type": "integer", "minimum": 0, "maximum": 10, "default": 0}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_FLAG = {"type": "boolean", "nullable": True}


def _object(properties: Json, required: list[str] | None = None, **more: Any) -> Json:
    return {"type": "object", "properties": properties, "required": required or list(properties), **more}


_SCHEMAS: Json = {
    "Error": _object(
        {
            "error": _object(
                {
                    "code": {"type": "string", "description": "For programs; stable."},
                    "message": {"type": "string", "description": "For people: the value and what is allowed."},
                }
            )
        }
    ),
    "Neighbor": _object(
        {
            "name": {"type": "string", "description": "Path in the archive of the training images."},
            "label": {"type": "string"},
            "similarity": {
                "type": "number",
                "minimum": -1,
                "maximum": 1,
                "description": "Cosine of the angle between the features of both images.",
            },
            "thumbnail": {"type": "string", "description": "Path of a JPEG; only if thumbnails are packaged."},
        },
        ["name", "label", "similarity"],
    ),
    "Label": _object({"label": {"type": "string"}, "probability": _PROBABILITY}),
    "Prediction": _object(
        {
            "name": {"type": "string", "description": "Name of the file."},
            "labels": {
                "type": "array",
                "description": "The most probable classes with their calibrated probabilities, most probable first.",
                "items": {"$ref": "#/components/schemas/Label"},
            },
            "confident": {
                **_FLAG,
                "description": "False: low confidence, do not rely on it. Null: evaluated without thresholds.",
            },
            "in_distribution": {**_FLAG, "description": "False: probably none of the classes. Null: as for confident."},
            "neighbors": {
                "type": "array",
                "description": "The most similar training images, the most similar first; only if requested.",
                "items": {"$ref": "#/components/schemas/Neighbor"},
            },
            "error": {"$ref": "#/components/schemas/Error/properties/error"},
        },
        ["name"],
        description="Either `error`, if there is no prediction for this image, or all other fields.",
    ),
    "Answer": _object(
        {
            "model": _object({"name": {"type": "string"}, "version": {"type": "string"}}),
            "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
        }
    ),
}
_SCHEMAS["Refusal"] = _object(
    {**_SCHEMAS["Error"]["properties"], **_SCHEMAS["Answer"]["properties"]},
    ["error"],
    description="The error of the request; if the images were processed, `predictions` has their errors.",
)
_TEXT = {"type": "string", "nullable": True}
_INFO = _object(
    {
        "model": _object({"name": {"type": "string"}, "version": {"type": "string"}}),
        "classes": {"type": "array", "items": {"type": "string"}},
        "card": {"type": "object", "description": "Content of `card.json`, including how the model was trained."},
        "model_card": {**_TEXT, "description": "Markdown; null if there is none."},
        "precision": {"type": "string", "enum": ["float32", "int8"], "description": "Precision of the served network."},
        "reason": {"type": "string", "description": "Why this model was selected."},
        "metrics": {"type": "object", "description": "Of the float32 network on validation and test, with intervals."},
        "foreign": {
            "type": "object",
            "nullable": True,
            "description": "Fraction of out-of-distribution images with confident predictions, or null.",
        },
        "parity": {
            "type": "object",
            "description": "How closely the packaged float32 network reproduces the evaluated predictions.",
        },
        "limits": {"type": "object", "description": "Limits of a request: images, megabytes, megapixels, seconds."},
        "keeps": _object({"answers": {"type": "boolean"}, "pictures": {"type": "boolean"}}),
        "neighbors": {
            "type": "string",
            "enum": ["none", "names", "thumbnails"],
            "description": "What predictions can contain of the most similar training images.",
        },
        "examples": {
            "type": "array",
            "description": "Test images, under `/examples/`.",
            "items": _object({"file": {"type": "string"}, "label": {"type": "string"}}),
        },
        "data": {"type": "string", "description": "Hash of the packed data and their split."},
        "commit": {**_TEXT, "description": "Null if unknown."},
        "proof": {
            "type": "object",
            "nullable": True,
            "description": "The proof of `darkroom verify` that this model can be rebuilt; null if there is none.",
        },
        "versions": {"type": "object", "additionalProperties": {"type": "string"}},
    }
)
_REFUSALS = {
    "400": "A malformed form, or a truncated body",
    "408": "Timeout while receiving the body",
    "413": "The request, or every image, is too large",
    "415": "Unsupported content type",
    "422": "Invalid fields or options, no or too many images, or no readable image",
    "429": "Too many concurrent requests",
    "431": "The URL, headers and trailers are too large",
    "504": "Timeout while processing the request",
}


def describe(specification: Json, version: str, limits: ServeSettings, classes: list[str]) -> Json:
    """Return BentoML's OpenAPI `specification` with our routes first and our own title."""
    label = {"type": "string", "enum": classes}
    # Swagger's form also sends unused fields, so the defaults must be valid: a number, and an empty label.
    top_k = {"type": "integer", "minimum": 1, "maximum": 999999999, "default": limits.top_k}
    any_label = {"type": "string", "enum": ["", *classes], "default": ""}
    images = {"type": "array", "items": _FILE, "minItems": 1, "maxItems": limits.max_images}
    paths = {
        "/predict": _post(
            "predict",
            "Classify one or several images",
            "A form with the field `images`, which may be repeated, or one image as the body. Predictions are in the "
            "order of the images; an unreadable image does not affect the others. With `neighbors`, they contain the "
            "most similar training images, if the model shows them. Options in the form take precedence over the "
            "query.",
            _object(
                {"images": images, "top_k": top_k, "neighbors": _NEIGHBORS}, ["images"], additionalProperties=False
            ),
            {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}},
            {"top_k": top_k, "neighbors": _NEIGHBORS},
            refused="Refusal",
        ),
        "/explain": _post(
            "explain",
            "Show which regions of an image support a class",
            "Returns a PNG of what the model sees of the image, above a colour scale: its central square, or the whole "
            "image if the `fit` of the `card` in `/info` is not crop, 256 to 768 pixels on the longer side. Hiding an "
            "orange region makes `label` less probable, hiding a blue one more probable. By default, the most probable "
            "class is explained; the header `X-Label` contains it, percent-encoded. `X-Strongest` is the largest "
            "change of the probability, 0 to 1.",
            _object({"image": _FILE, "label": any_label}, ["image"], additionalProperties=False),
            {"image/png": {"schema": _FILE}},
            {"label": any_label},
            headers={
                "X-Label": {"description": "The class, percent-encoded.", "schema": {"type": "string"}},
                "X-Strongest": {"description": "Largest change of its probability.", "schema": _PROBABILITY},
            },
        ),
        "/info": {
            "get": _get("info", "The model and the service: classes, card, metrics, limits and versions", _INFO),
            "post": _get("post_info", "The same, for BentoML's clients", _INFO),
        },
    }
    if limits.log is not None:
        paths["/correct"] = _post(
            "correct",
            "Correct the class of an image",
            "The image is stored with the class `label`, for the next training run.",
            _object({"image": _FILE, "label": label}, additionalProperties=False),
            {"application/json": {"schema": _object({"kept": {"type": "boolean"}})}},
            {"label": label},
            {"403": "Sent by a page of another site, or to an unknown host name", "507": "The disk is full"},
        )
    return {
        **specification,
        "info": {"title": "Darkroom", "version": version, "description": "Classifies images. [Page](ui)"},
        "paths": {**paths, **specification["paths"]},
        "components": {"schemas": _SCHEMAS},
    }


def schema(description: str | None, limits: ServeSettings) -> Json:
    """Return the description from which `bentoml.SyncHTTPClient` creates a method for each route."""
    file, text, number = {"type": "file"}, {"type": "string"}, {"type": "integer"}
    routes = [
        _route(
            "predict",
            {"images": {"type": "array", "items": file}, "top_k": number, "neighbors": number},
            {"type": "object"},
            "images",
        ),
        _route("explain", {"image": file, "label": text}, {"type": "file"}, "image"),
        _route("info", {}, {"type": "object"}),
    ]
    if limits.log is not None:
        routes.append(_route("correct", {"image": file, "label": text}, {"type": "object"}, "image", "label"))
    return {"name": "Classifier", "type": "service", "description": description, "routes": routes}


def _route(name: str, properties: Json, output: Json, *required: str) -> Json:
    given = {"type": "object", "properties": properties, "required": list(required)}
    return {"name": name, "route": f"/{name}", "batchable": False, "is_task": False, "input": given, "output": output}


def _post(
    name: str,
    summary: str,
    description: str,
    form: Json,
    answer: Json,
    query: Json,
    more: dict[str, str] | None = None,
    refused: str = "Error",
    headers: Json | None = None,
) -> Json:
    error = {"application/json": {"schema": {"$ref": f"#/components/schemas/{refused}"}}}
    operation = {
        **_get(name, summary, {}),
        "description": description,
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "image/*": {"schema": _FILE},
                "application/octet-stream": {"schema": _FILE},
            },
        },
    }
    refusals = {status: {"description": text, "content": error} for status, text in (_REFUSALS | (more or {})).items()}
    operation["responses"] = {
        "200": {"description": "Answered", "content": answer, "headers": headers or {}},
        **refusals,
    }
    return {"post": operation}


def _get(name: str, summary: str, answer: Json) -> Json:
    return {
        "tags": ["Service APIs"],
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": "Answered", "content": {"application/json": {"schema": answer}}}},
    }
