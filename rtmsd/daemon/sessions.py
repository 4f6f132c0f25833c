"""`POST /v1/session/{action}`: an operator's words checked and made a request of Zoom's REST API."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rtmsd.admin.messages import AdminError, Code, JsonObject
from rtmsd.config.model import AppConfig
from rtmsd.protocol.products import ENDPOINTS, REST_PRODUCTS
from rtmsd.zoom_api import ZoomApi, ZoomApiError

FIELDS: Final = frozenset({"product", "id", "app", "participant_user_id"})


async def control_session(
    api: ZoomApi, apps: Sequence[AppConfig], action: str, fields: Mapping[str, Any]
) -> JsonObject:
    """Do what `POST /v1/session/{action}` asks for.

    Args:
        apps: of the configuration in force.
        action: start, stop, pause or resume.
        fields: `id`; `product` ("session" by default); `app`, when there are several; `participant_user_id`.

    Raises:
        AdminError: BAD_REQUEST for wrong fields, ZOOM_REFUSED with Zoom's numbers and what they mean.
        ConfigError: the app has no credentials for this.
    """
    if unknown := sorted(fields.keys() - FIELDS):
        raise AdminError(Code.BAD_REQUEST, f"unknown field {', '.join(unknown)}; there are {', '.join(sorted(FIELDS))}")
    product = _text(fields, "product") or "session"
    if product not in ENDPOINTS:
        raise AdminError(Code.BAD_REQUEST, f"{product!r}: Zoom has published this request only for {REST_PRODUCTS}")
    session_id = _text(fields, "id")
    if session_id is None:
        raise AdminError(Code.BAD_REQUEST, "id is missing: a session_id, the id of a meeting or webinar, or a call_id")
    app = _app(apps, _text(fields, "app"))
    participant = _text(fields, "participant_user_id")
    try:
        return await api.control_session(app, action, session_id, product, participant)
    except ZoomApiError as error:
        raise AdminError(Code.ZOOM_REFUSED, str(error), zoom_code=error.code, zoom_status=error.status) from error


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise AdminError(Code.BAD_REQUEST, f"{name} is not a text, or empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise AdminError(Code.BAD_REQUEST, f"{name} is not Unicode text") from None
    return value


def _app(apps: Sequence[AppConfig], name: str | None) -> AppConfig:
    names = ", ".join(app.name for app in apps)
    if name is not None:
        for app in apps:
            if app.name == name:
                return app
        raise AdminError(Code.BAD_REQUEST, f"no app is called {name!r}; there are {names}")
    if len(apps) != 1:
        raise AdminError(Code.BAD_REQUEST, f"there are several apps, name one: {names}")
    return apps[0]
