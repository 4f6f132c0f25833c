"""The table of products: each row against what Zoom documents, and what other tables demand of any row."""

import pytest

from rtmsd.ctl.cli import build_parser
from rtmsd.protocol.enums import EventType, MediaType, VoiceEventType
from rtmsd.protocol.media_params import choose_url
from rtmsd.protocol.products import ENDPOINTS, ID_KEYS, PRODUCTS, product_of

PEOPLE = (2, 3, 4)
URLS = {"video": "wss://v", "audio": "wss://a", "all": "wss://all"}


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_row_can_be_found_and_used(name: str) -> None:
    product = PRODUCTS[name]
    assert product.webhook_prefix.startswith(f"{name}.")
    assert product.webhook_prefix.endswith("rtms_")
    assert product_of(name) is product
    assert product.id_keys[0] in ID_KEYS
    assert product.events.joins.isdisjoint(product.events.leaves)
    assert product.events.joins | product.events.leaves <= {*product.events.always}
    assert all(map(product.events.knows, product.events.wanted(product.media)))
    if product.rest is not None:
        assert "{id}" in product.rest.path


@pytest.mark.parametrize("name", PRODUCTS)
def test_rtmsctl_takes_every_product(name: str) -> None:
    assert build_parser().parse_args(["session", "start", "id", "--product", name]).product == name


def test_only_contact_center_has_no_published_rest_request() -> None:
    assert set(PRODUCTS) - set(ENDPOINTS) == {"contact_center"}
    assert ENDPOINTS["phone"].path == "/phone/calls/{id}/rtms_app/status"
    assert ENDPOINTS["webinar"] == ENDPOINTS["meeting"]


def test_an_unknown_product_is_read_as_a_session() -> None:
    assert product_of("hologram") is PRODUCTS["session"]


def test_meetings_announce_the_media_asked_for() -> None:
    events = PRODUCTS["meeting"].events
    assert events.names is EventType
    assert events.wanted(MediaType.AUDIO | MediaType.TRANSCRIPT) == PEOPLE
    assert events.wanted(MediaType.DESKSHARE | MediaType.VIDEO) == (*PEOPLE, 5, 6, 8, 9)
    assert events.wanted(MediaType.CHAT) == (*PEOPLE, 10, 11, 12, 13, 14)
    assert (set(events.joins), set(events.leaves)) == ({3}, {4})


def test_contact_center_differs_in_all_columns() -> None:
    product = PRODUCTS["contact_center"]
    assert product.events.names is VoiceEventType
    assert product.events.wanted(MediaType.AUDIO) == (*PEOPLE, *range(8, 35))
    assert (set(product.events.joins), set(product.events.leaves)) == ({3, 8, 10}, {4, 9, 11, 29})
    assert product.speaker_keys == ("channel_id",)
    assert choose_url(URLS, MediaType.AUDIO | MediaType.TRANSCRIPT, "contact_center") == "wss://a"
    assert choose_url(URLS, MediaType.AUDIO | MediaType.TRANSCRIPT, "meeting") == "wss://all"
