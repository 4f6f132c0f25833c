"""The order of causes: each loss of a connection takes in the narrower ones."""

from itertools import pairwise

import pytest

from rtmsd.protocol.causes import OUTAGE_CAUSES, GapCause, is_wider


def test_a_takeover_by_another_node_takes_in_every_other_loss() -> None:
    assert OUTAGE_CAUSES[-1] is GapCause.NODE_TAKEOVER
    for narrow, wide in pairwise(OUTAGE_CAUSES):
        assert is_wider(wide, narrow)
        assert not is_wider(narrow, wide)


@pytest.mark.parametrize("cause", [*(cause for cause in GapCause if cause not in OUTAGE_CAUSES), "unheard_of"])
def test_what_is_no_loss_of_a_connection_is_in_no_order(cause: str) -> None:
    assert not is_wider(cause, GapCause.MEDIA_RECONNECT)
    assert not is_wider(GapCause.NODE_TAKEOVER, cause)
