"""Languages of transcripts: the wire's numbers, and their tags. A number that is not listed here is kept as `int`."""

import enum
from collections.abc import Mapping
from typing import Final


class TranscriptLanguage(enum.IntEnum):
    """RTMS_TRANSCRIPT_LANGUAGE; NONE lets Zoom detect it."""

    NONE = -1
    ARABIC = 0
    BENGALI = 1
    CANTONESE = 2
    CATALAN = 3
    CHINESE_SIMPLIFIED = 4
    CHINESE_TRADITIONAL = 5
    CZECH = 6
    DANISH = 7
    DUTCH = 8
    ENGLISH = 9
    ESTONIAN = 10
    FINNISH = 11
    FRENCH_CANADA = 12
    FRENCH_FRANCE = 13
    GERMAN = 14
    HEBREW = 15
    HINDI = 16
    HUNGARIAN = 17
    INDONESIAN = 18
    ITALIAN = 19
    JAPANESE = 20
    KOREAN = 21
    MALAY = 22
    PERSIAN = 23
    POLISH = 24
    PORTUGUESE = 25
    ROMANIAN = 26
    RUSSIAN = 27
    SPANISH = 28
    SWEDISH = 29
    TAGALOG = 30
    TAMIL = 31
    TELUGU = 32
    THAI = 33
    TURKISH = 34
    UKRAINIAN = 35
    VIETNAMESE = 36


_TAGS: Final[Mapping[int, str]] = {
    TranscriptLanguage.ARABIC: "ar",
    TranscriptLanguage.BENGALI: "bn",
    TranscriptLanguage.CANTONESE: "yue",
    TranscriptLanguage.CATALAN: "ca",
    TranscriptLanguage.CHINESE_SIMPLIFIED: "zh-Hans",
    TranscriptLanguage.CHINESE_TRADITIONAL: "zh-Hant",
    TranscriptLanguage.CZECH: "cs",
    TranscriptLanguage.DANISH: "da",
    TranscriptLanguage.DUTCH: "nl",
    TranscriptLanguage.ENGLISH: "en",
    TranscriptLanguage.ESTONIAN: "et",
    TranscriptLanguage.FINNISH: "fi",
    TranscriptLanguage.FRENCH_CANADA: "fr-CA",
    TranscriptLanguage.FRENCH_FRANCE: "fr-FR",
    TranscriptLanguage.GERMAN: "de",
    TranscriptLanguage.HEBREW: "he",
    TranscriptLanguage.HINDI: "hi",
    TranscriptLanguage.HUNGARIAN: "hu",
    TranscriptLanguage.INDONESIAN: "id",
    TranscriptLanguage.ITALIAN: "it",
    TranscriptLanguage.JAPANESE: "ja",
    TranscriptLanguage.KOREAN: "ko",
    TranscriptLanguage.MALAY: "ms",
    TranscriptLanguage.PERSIAN: "fa",
    TranscriptLanguage.POLISH: "pl",
    TranscriptLanguage.PORTUGUESE: "pt",
    TranscriptLanguage.ROMANIAN: "ro",
    TranscriptLanguage.RUSSIAN: "ru",
    TranscriptLanguage.SPANISH: "es",
    TranscriptLanguage.SWEDISH: "sv",
    TranscriptLanguage.TAGALOG: "tl",
    TranscriptLanguage.TAMIL: "ta",
    TranscriptLanguage.TELUGU: "te",
    TranscriptLanguage.THAI: "th",
    TranscriptLanguage.TURKISH: "tr",
    TranscriptLanguage.UKRAINIAN: "uk",
    TranscriptLanguage.VIETNAMESE: "vi",
}


def language_tag(language: int | None) -> str | None:
    """Return the tag of BCP 47 of a language, as "de" or "zh-Hans"; None for one that is not known."""
    return None if language is None else _TAGS.get(language)


_ISO_639_2: Final[Mapping[str, str]] = {
    "ar": "ara",
    "bn": "ben",
    "yue": "chi",
    "ca": "cat",
    "zh": "chi",
    "cs": "cze",
    "da": "dan",
    "nl": "dut",
    "en": "eng",
    "et": "est",
    "fi": "fin",
    "fr": "fre",
    "de": "ger",
    "he": "heb",
    "hi": "hin",
    "hu": "hun",
    "id": "ind",
    "it": "ita",
    "ja": "jpn",
    "ko": "kor",
    "ms": "may",
    "fa": "per",
    "pl": "pol",
    "pt": "por",
    "ro": "rum",
    "ru": "rus",
    "es": "spa",
    "sv": "swe",
    "tl": "tgl",
    "ta": "tam",
    "te": "tel",
    "th": "tha",
    "tr": "tur",
    "uk": "ukr",
    "vi": "vie",
}


def iso_639_2(tag: str | None) -> str:
    """Return the bibliographic code of a tag's language, as containers of films have it: "ger"; "und" without one."""
    return _ISO_639_2.get("" if tag is None else tag.partition("-")[0], "und")
