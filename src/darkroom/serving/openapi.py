"""What Swagger and `/docs.json` say about the mounted routes, which BentoML does not describe by itself."""

from typing import Any

_LABELS = {
    "type": "array",
    "description": "The most probable classes, most probable first.",
    "items": {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "probability": {"type": "number", "minimum": 0, "maximum": 1},
        },
    },
}
_ERROR = {"type": "object", "properties": {"code": {"type": "string"}, "message": {"type": "string"}}}
_MODEL = {"type": "object", "properties": {"name": {"type": "string"}, "version": {"type": "string"}}}
_PREDICTION = {
    "type": "object",
    "description": "Either `labels` or, when this image could not be read, `error`.",
    "properties": {"name": {"type": "string"}, "labels": _LABELS, "error": _ERROR},
}
_ANSWER = {
    "type": "object",
    "properties": {"model": _MODEL, "predictions": {"type": "array", "items": _PREDICTION}},
}
_FORM = {
    "type": "object",
    "required": ["images"],
    "properties": {
        "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "top_k": {"type": "integer", "minimum": 1},
    },
}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusal(description: str) -> dict[str, Any]:
    return _response(description, {"type": "object", "properties": {"error": _ERROR}})


_PATHS = {
    "/predict": {
        "post": {
            "tags": ["Service APIs"],
            "operationId": "predict",
            "summary": "Classify one or several images",
            "description": "A form with the field `images` repeated, or one image as the whole body. Answers "
            "come in the order of the images; an image that cannot be read does not disturb the others.",
            "parameters": [
                {"name": "top_k", "in": "query", "schema": {"type": "integer", "minimum": 1}},
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {"schema": _FORM},
                    "image/*": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            "responses": {
                "200": _response("At least one image was answered", _ANSWER),
                "400": _refusal("A broken form"),
                "413": _refusal("The request or every image is too large"),
                "415": _refusal("Another content type"),
                "422": _refusal("Wrong fields, no or too many images, or no image could be read"),
            },
        }
    },
    "/info": {
        "get": {
            "tags": ["Service APIs"],
            "operationId": "info",
            "summary": "What answers here: card, metrics, limits and versions",
            "responses": {"200": _response("The served model", {"type": "object"})},
        }
    },
}


def describe(specification: dict[str, Any], version: str) -> dict[str, Any]:
    """Return BentoML's OpenAPI `specification` with our routes first and our own title."""
    return {
        **specification,
        "info": {"title": "Darkroom", "version": version, "description": "Classifies pictures. [Page](ui)"},
        "paths": {**_PATHS, **specification["paths"]},
        "components": {},
    }
