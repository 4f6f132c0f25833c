"""Zoom's REST API for streams: start, stop, pause and resume that of a running session.

Zoom answers when it has accepted the request. The result comes as webhooks and messages, as with any other start.
`httpx` and `jwt` are imported at the first request: most daemons never make one.
"""

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import attrs
import structlog
import trio

from rtmsd.config.model import ApiConfig, AppConfig
from rtmsd.errors import ConfigError, RtmsdError
from rtmsd.protocol.explanations import API_ERRORS
from rtmsd.protocol.products import ENDPOINTS, REST_PRODUCTS, RestEndpoint

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger(__name__)

REQUEST_TIMEOUT_S: Final = 10.0
TOTAL_TIMEOUT_S: Final = 25.0
RETRY_DELAYS_S: Final = (1.0, 3.0)  # so many further attempts
LONGEST_WAIT_S: Final = 10.0  # a longer Retry-After is reported instead of waited for
JWT_VALID_S: Final = 300
JWT_BACKDATED_S: Final = 30  # our clock may be ahead of Zoom's
TOKEN_SPARE_S: Final = 60.0  # a token about to expire is not used any more
SHOWN_CHARS: Final = 300  # of Zoom's own words

_WORD: Final = re.compile(r"[!-~]+")
TRANSIENT_CODE: Final = 3000
UNAUTHORIZED: Final = 401
TOO_MANY_REQUESTS: Final = 429
SERVER_ERROR: Final = 500


STATUS_EXPLANATIONS: Final = {
    400: "Zoom finds the request wrong",
    UNAUTHORIZED: "the credentials under [app.api] were refused: they are not the client id and secret of [[app]], but "
    "those of the REST API; a wrong clock also does this",
    403: "the credentials under [app.api] are good, but not for this: does the OAuth app have the scope "
    "(for a meeting meeting:update:participant_rtms_app_status), and is it in the account of the session?",
    404: "Zoom knows no such session or meeting, or it is not running now; sessions go by session_id, "
    "meetings by id, calls by call_id",
    TOO_MANY_REQUESTS: "too many requests: Zoom's rate limit for this account is reached",
}


class ZoomApiError(RtmsdError):
    """Zoom refused, or could not be asked.

    Attributes:
        code: Zoom's number from the body; None without one.
        status: the HTTP status; None without an answer.
        explanation: what it means and what to do, for a person.
        is_transient: whether the same request may succeed in a moment.
        retry_after_s: how long Zoom wants us to wait; None when it did not say.
    """

    def __init__(
        self,
        explanation: str,
        *,
        code: int | None = None,
        status: int | None = None,
        is_transient: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        numbers = [f"code {code}"] * (code is not None) + [f"HTTP {status}"] * (status is not None)
        super().__init__(explanation + (f" ({', '.join(numbers)})" if numbers else ""))
        self.code = code
        self.status = status
        self.explanation = explanation
        self.is_transient = is_transient
        self.retry_after_s = retry_after_s


@attrs.frozen
class _Token:
    text: str = attrs.field(repr=False)
    expires_s: float


class ZoomApi:
    """A client of the API, one for the whole process: it keeps OAuth tokens until they expire.

    Args:
        client: used for all requests; without it each call opens and closes one of its own.
        clock_s: local Unix time in seconds.
    """

    def __init__(self, client: "httpx.AsyncClient | None" = None, *, clock_s: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock_s = clock_s
        self._tokens: dict[ApiConfig, _Token] = {}

    async def control_session(
        self,
        app: AppConfig,
        action: str,
        session_or_meeting_id: str,
        product: str,
        participant_user_id: str | None = None,
    ) -> dict[str, Any]:
        """Request that the stream of `app` in a running session be started, stopped, paused or resumed.

        Ends within `TOTAL_TIMEOUT_S`; transient errors are retried meanwhile.

        Args:
            action: start, stop, pause or resume.
            session_or_meeting_id: a `session_id`, the id or UUID of a meeting, a `call_id`, as Zoom writes it.
            product: a key of `ENDPOINTS`.
            participant_user_id: in whose name it is done; by default the host's.

        Returns:
            `action`, `product` and `id` as asked, and the HTTP `status` that accepted it.

        Raises:
            ConfigError: the app has no credentials for this.
            ZoomApiError: Zoom refused, or did not answer in time.
        """
        endpoint = _endpoint(product)
        api = _credentials(app, endpoint, product)
        url = api.base_url.rstrip("/") + endpoint.path.format(id=encode_id(session_or_meeting_id))
        settings = {"client_id": app.client_id}
        if participant_user_id is not None:
            settings["participant_user_id"] = participant_user_id
        try:
            with trio.fail_after(TOTAL_TIMEOUT_S):
                async with self._opened_client() as client:
                    status = await self._patch(client, api, url, {"action": action, "settings": settings})
        except trio.TooSlowError:
            raise ZoomApiError(f"Zoom did not answer within {TOTAL_TIMEOUT_S:g} s", is_transient=True) from None
        log.info("zoom api accepted", action=action, product=product, status=status)
        return {"action": action, "product": product, "id": session_or_meeting_id, "status": status}

    @asynccontextmanager
    async def _opened_client(self) -> "AsyncIterator[httpx.AsyncClient]":
        if self._client is not None:
            yield self._client
        else:
            async with await trio.to_thread.run_sync(_new_client) as client:
                yield client

    async def _patch(self, client: "httpx.AsyncClient", api: ApiConfig, url: str, body: dict[str, Any]) -> int:
        """Send until Zoom accepts, refuses for good, or the attempts are used up; return the status."""
        for delay_s in RETRY_DELAYS_S:
            try:
                return await self._patch_once(client, api, url, body)
            except ZoomApiError as error:
                wait_s = delay_s if error.retry_after_s is None else error.retry_after_s
                if not error.is_transient or wait_s > LONGEST_WAIT_S:
                    raise
                log.warning("zoom api failed; retrying", error=str(error), wait_s=wait_s)
                await trio.sleep(wait_s)
        return await self._patch_once(client, api, url, body)

    async def _patch_once(self, client: "httpx.AsyncClient", api: ApiConfig, url: str, body: dict[str, Any]) -> int:
        had_token = api in self._tokens
        bearer = _jwt(api, self._clock_s()) if api.auth == "video-sdk" else await self._token(client, api)
        response = await self._ask(client, "PATCH", url, json=body, headers={"authorization": f"Bearer {bearer}"})
        if response.status_code == UNAUTHORIZED:
            self._tokens.pop(api, None)
            if had_token:  # withdrawn early: a fresh one may do
                return await self._patch_once(client, api, url, body)
        if not response.is_success:
            raise self._refusal(response)
        return response.status_code

    async def _token(self, client: "httpx.AsyncClient", api: ApiConfig) -> str:
        """Return a server-to-server OAuth token, the same one until shortly before it expires."""
        now_s = self._clock_s()
        token = self._tokens.get(api)
        if token is None or token.expires_s <= now_s + TOKEN_SPARE_S:
            form = {"grant_type": "account_credentials", "account_id": api.account_id}
            response = await self._ask(client, "POST", api.token_url, data=form, auth=(api.key, api.secret))
            if not response.is_success:
                raise self._refusal(response)
            token = self._tokens[api] = _read_token(_object(response), now_s)
        return token.text

    async def _ask(self, client: "httpx.AsyncClient", method: str, url: str, **more: Any) -> "httpx.Response":
        """Raises ZoomApiError, transient, without an answer."""
        import httpx  # noqa: PLC0415 - not at every start

        try:
            return await client.request(method, url, timeout=REQUEST_TIMEOUT_S, **more)
        except httpx.RequestError as error:
            host = httpx.URL(url).host
            what = f"{type(error).__name__}: {error}".rstrip(": ")
            raise ZoomApiError(f"{host} does not answer ({what})", is_transient=True) from error

    def _refusal(self, response: "httpx.Response") -> ZoomApiError:
        answer, status = _object(response), response.status_code
        code = answer.get("code")
        code = code if type(code) is int else None
        known = API_ERRORS.get(code or 0)
        explanation = " ".join(known[1:]).rstrip(".") if known else STATUS_EXPLANATIONS.get(status, "Zoom refused")
        words = next((answer[key] for key in ("message", "reason", "error") if isinstance(answer.get(key), str)), "")
        if words:
            explanation += f'; Zoom says "{words[:SHOWN_CHARS]}"'
        retry_after_s = read_retry_after(response.headers.get("retry-after", ""), self._clock_s())
        if retry_after_s is not None:
            explanation += f"; it may be tried again in {retry_after_s:.0f} s"
        return ZoomApiError(
            explanation,
            code=code,
            status=status,
            is_transient=status == TOO_MANY_REQUESTS or status >= SERVER_ERROR or code == TRANSIENT_CODE,
            retry_after_s=retry_after_s,
        )


def encode_id(text: str) -> str:
    """Return an id as a segment of a path. Zoom decodes one that contains "/" twice, and it is encoded so."""
    once = quote(text, safe="")
    return quote(once, safe="") if "/" in text else once


def read_retry_after(value: str, now_s: float) -> float | None:
    """Return how long to wait by a header `Retry-After`, seconds or a date; None if it says nothing."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
    except ValueError:
        return None


def _endpoint(product: str) -> RestEndpoint:
    try:
        return ENDPOINTS[product]
    except KeyError:
        raise ZoomApiError(f"Zoom has published no such request for {product!r}, only for {REST_PRODUCTS}") from None


def _credentials(app: AppConfig, endpoint: RestEndpoint, product: str) -> ApiConfig:
    if app.api is None:
        raise ConfigError([f"app.api: is missing for {app.name!r}; Zoom's REST API has credentials of its own"])
    if app.api.auth != endpoint.auth:
        raise ConfigError([f'app.api.auth: of {app.name!r} is "{app.api.auth}"; a {product} needs "{endpoint.auth}"'])
    return app.api


def _jwt(api: ApiConfig, now_s: float) -> str:
    """Return a Video SDK API token: HS256 over issuer and times."""
    import jwt  # noqa: PLC0415 - not at every start

    issued_s = int(now_s) - JWT_BACKDATED_S
    return jwt.encode({"iss": api.key, "iat": issued_s, "exp": int(now_s) + JWT_VALID_S}, api.secret, "HS256")


def _read_token(answer: dict[str, Any], now_s: float) -> _Token:
    text, valid_s = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(text, str) or not _WORD.fullmatch(text):
        raise ZoomApiError("the answer to the request for a token holds none; is app.api.token_url right?")
    return _Token(text, now_s + (valid_s if type(valid_s) is int else 0))


def _object(response: "httpx.Response") -> dict[str, Any]:
    try:
        value = response.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _new_client() -> "httpx.AsyncClient":
    """In a worker thread: the import and the certificates take longer than a media stream should wait."""
    import httpx  # noqa: PLC0415 - not at every start

    return httpx.AsyncClient()
