"""Status codes of Zoom's answers in plain words, for `explanations.py`."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from rtmsd.protocol.enums import StatusCode

Texts: TypeAlias = tuple[str, str, str]
"""Meaning, usual cause, and remedy: what a person should do."""

_OUR_BUG: Final = "rtmsd and Zoom's server disagree on the message: a bug, or a change at Zoom's."
_REPORT: Final = "Look for a newer version of rtmsd; else report it with the log lines around it."
_STALE: Final = (
    "Zoom has not noticed yet that the previous connection is gone, or a second program takes the same stream."
)
WAIT: Final = "Nothing: rtmsd retries until the window ends."


def _not_supported(media: str, scope: str) -> Texts:
    return (
        f"The app may not have {media}; the other media go on.",
        f"The scope {scope} is missing, the product does not offer {media}, or the host switched it off.",
        f"Add the scope in the Zoom app and start the stream anew, or take {media} out of media.types.",
    )


def _bad_param(what: str, key: str) -> Texts:
    return (
        f"Zoom refuses what was asked for: the {what}.",
        "A combination that is not in Zoom's matrix of media parameters.",
        f"Change {key}; `rtmsd check` knows the matrix. If it finds no mistake, the matrix has changed at Zoom's.",
    )


STATUS_TEXTS: Final[Mapping[StatusCode, Texts]] = {
    StatusCode.OK: ("The request was granted.", "All is well.", "Nothing."),
    StatusCode.INVALID_MESSAGE_TYPE: ("A message type that does not belong on this connection.", _OUR_BUG, _REPORT),
    StatusCode.INVALID_RTMS_STREAM_ID: (
        "Zoom knows no such stream any more.",
        "It has ended, or the reconnection window passed before rtmsd came back.",
        "Nothing can bring it back; start a new stream. If it comes at once, answer webhooks faster.",
    ),
    StatusCode.INVALID_SIGNATURE: (
        "Zoom does not accept the signature of the handshake.",
        "client_id or client_secret are wrong: swapped, of the development instead of the production app,"
        " of another app, or the webhook secret in the place of the client secret.",
        "Copy client_id and client_secret anew from the credentials page of the app that sent the webhook.",
    ),
    StatusCode.INVALID_PAYLOAD: ("A field of a message is missing or has the wrong type.", _OUR_BUG, _REPORT),
    StatusCode.INVALID_EVENTS: ("The list of subscribed events is unusable.", _OUR_BUG, _REPORT),
    StatusCode.INVALID_EVENT_TYPE: ("An event that cannot be subscribed to.", _OUR_BUG, _REPORT),
    StatusCode.INVALID_MEDIA_TYPE: ("The media type is missing or no number.", _OUR_BUG, _REPORT),
    StatusCode.DUPLICATE_SIGNAL_REQUEST: (
        "The stream already has a signaling connection; the new one was refused.",
        _STALE,
        WAIT + " If it does not end, look for another daemon or a sample running with the same app.",
    ),
    StatusCode.MEDIA_TYPE_AUDIO_NOT_SUPPORT: _not_supported("audio", "meeting:read:meeting_audio (or webinar's)"),
    StatusCode.MEDIA_TYPE_VIDEO_NOT_SUPPORT: _not_supported("video", "meeting:read:meeting_video (or webinar's)"),
    StatusCode.MEDIA_TYPE_DESKSHARE_NOT_SUPPORT: _not_supported(
        "share", "meeting:read:meeting_screenshare (or webinar's)"
    ),
    StatusCode.MEDIA_TYPE_TRANSCRIPT_NOT_SUPPORT: _not_supported(
        "transcript", "meeting:read:meeting_transcript (or webinar's)"
    ),
    StatusCode.MEDIA_TYPE_CHAT_NOT_SUPPORT: _not_supported("chat", "meeting:read:meeting_chat (or webinar's)"),
    StatusCode.MEDIA_TYPE_INVALID_VALUE: (
        "The media type is a number that means nothing.",
        _OUR_BUG,
        'Try media.connections = "split", which asks for one type at a time. ' + _REPORT,
    ),
    StatusCode.MEDIA_DATA_ALL_CONNECTION_EXIST: (
        "A connection for all media exists already, so that there may be no other.",
        _STALE,
        WAIT,
    ),
    StatusCode.DUPLICATE_MEDIA_DATA_CONNECTION: ("This media type has a connection already.", _STALE, WAIT),
    StatusCode.INVALID_MEDIA_PARAMS: _bad_param("media parameters", "[media]"),
    StatusCode.INVALID_MEDIA_AUDIO_PARAMS: _bad_param("audio parameters", "[media.audio]"),
    StatusCode.INVALID_MEDIA_AUDIO_CONTENT_TYPE: _bad_param("packaging of audio", "media.audio.codec"),
    StatusCode.INVALID_MEDIA_AUDIO_SAMPLE_RATE: _bad_param("sample rate", "media.audio.sample_rate_hz"),
    StatusCode.INVALID_MEDIA_AUDIO_CHANNEL: _bad_param("number of channels", "media.audio.channels"),
    StatusCode.INVALID_MEDIA_AUDIO_CODEC: _bad_param("audio codec", "media.audio.codec"),
    StatusCode.INVALID_MEDIA_AUDIO_DATA_OPT: _bad_param("kind of audio streams", "media.audio.streams"),
    StatusCode.INVALID_MEDIA_AUDIO_SEND_RATE: _bad_param("length of a packet", "media.audio.send_rate_ms"),
    StatusCode.INVALID_MEDIA_VIDEO_PARAMS: _bad_param("video parameters", "[media.video]"),
    StatusCode.INVALID_MEDIA_VIDEO_CONTENT_TYPE: _bad_param("packaging of video", "[media.video]"),
    StatusCode.INVALID_MEDIA_VIDEO_CODEC: _bad_param("video codec", "media.video.codec or media.video.fps"),
    StatusCode.INVALID_MEDIA_VIDEO_RESOLUTION: _bad_param("resolution", "media.video.resolution"),
    StatusCode.INVALID_MEDIA_VIDEO_DATA_OPT: _bad_param("kind of video streams", "media.video.streams"),
    StatusCode.INVALID_MEDIA_VIDEO_FPS: _bad_param("frame rate", "media.video.fps"),
    StatusCode.INVALID_MEDIA_DESKSHARE_PARAMS: _bad_param("share parameters", "[media.share]"),
    StatusCode.INVALID_MEDIA_DESKSHARE_CONTENT_TYPE: _bad_param("packaging of the share", "[media.share]"),
    StatusCode.INVALID_MEDIA_DESKSHARE_CODEC: _bad_param("codec", "media.share.codec or media.share.fps"),
    StatusCode.INVALID_MEDIA_DESKSHARE_RESOLUTION: _bad_param("resolution", "media.share.resolution"),
    StatusCode.INVALID_MEDIA_DESKSHARE_FPS: _bad_param("frame rate", "media.share.fps"),
    StatusCode.INVALID_MEDIA_TRANSCRIPT_PARAMS: _bad_param("transcript parameters", "[media.transcript]"),
    StatusCode.INVALID_MEDIA_TRANSCRIPT_CONTENT_TYPE: _bad_param("packaging of transcripts", "[media.transcript]"),
    StatusCode.INVALID_MEDIA_CHAT_PARAMS: _bad_param("chat parameters", "[media]"),
    StatusCode.INVALID_MEDIA_CHAT_CONTENT_TYPE: _bad_param("packaging of chat", "[media]"),
    StatusCode.INVALID_RTMS_SESSION_ID: ("Zoom knows no such sub-session.", "It has ended meanwhile.", "Nothing."),
    StatusCode.INVALID_CLIENT_READY_ACK: ("Zoom does not accept that we are ready.", _OUR_BUG, _REPORT),
    StatusCode.INVALID_EVENT_SUBSCRIBE: ("The subscription of an event is unusable.", _OUR_BUG, _REPORT),
    StatusCode.INVALID_MEDIA_TRANSCRIPT_SOURCE_LANGUAGE: _bad_param("language", "media.transcript.language"),
    StatusCode.DUPLICATE_VIDEO_SUBSCRIPTION: (
        "This participant's video is subscribed already.",
        "The same subscription was sent twice.",
        "Nothing: the video goes on.",
    ),
    StatusCode.INTERNAL_EXCEPTION: (
        "Something broke inside Zoom.",
        "Trouble in Zoom's data centre.",
        WAIT + " If it lasts, look at status.zoom.us.",
    ),
    StatusCode.INVALID_MEDIA_TRANSCRIPT_TARGET_LANGUAGE: _bad_param("language to translate to", "[media.transcript]"),
    StatusCode.CHAT_SESSION_KEY_NOT_AVAILABLE: (
        "The chat cannot be read.",
        "Zoom has no key for it, as with end-to-end encryption.",
        'Take "chat" out of media.types for such meetings.',
    ),
}
