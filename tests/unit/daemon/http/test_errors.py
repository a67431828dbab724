import pytest

from daemon.http.errors import STATUS, BodyStalled, ClientTooOld, failure
from events.errors import KINDS, EngineError, NotFound


def test_every_kind_has_a_status():
    assert KINDS.keys() <= STATUS.keys()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_failure(kind: str):
    answer = failure(KINDS[kind]("why"))
    assert answer.status == STATUS[kind]
    assert answer.body == (b"" if kind == "not_modified" else b'{"message":"why"}\n')


def test_an_error_without_a_kind_of_its_own_is_the_systems():
    class Odd(EngineError):
        kind = "odd"

    assert failure(Odd("x")).status == 500


def test_old_clients_read_plain_text():
    answer = failure(ClientTooOld("1.12", "1.24"))
    assert (answer.status, answer.content_type) == (400, "text/plain; charset=utf-8")
    assert answer.body.startswith(b"client version 1.12 is too old. Minimum supported API version is 1.24, please ")


def test_a_stalled_body_is_a_timeout():
    assert failure(BodyStalled(60)).status == 408


def test_text_that_cannot_be_encoded():
    assert failure(NotFound("a\udcffb")).body == b'{"message":"a?b"}\n'
