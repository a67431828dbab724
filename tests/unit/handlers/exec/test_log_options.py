"""Log drivers and their options, in dockerd's words."""

import pytest

from events.errors import InvalidParameter, Unsupported
from handlers.exec.log_options import MIB, LogPlan, Rotation, Subject, check, details, plan

SUBJECT = Subject(
    container_id="ab" * 32,
    name="web",
    image_id="sha256:" + "cd" * 32,
    image_name="busybox:latest",
    labels={"tier": "front", "other": "x"},
    env=("MODE=fast", "SECRET=s"),
)


def made(driver: str, **options: str) -> LogPlan:
    return plan(driver, {name.replace("_", "-"): value for name, value in options.items()}, SUBJECT)


@pytest.mark.parametrize(
    ("driver", "options", "rotation"),
    [
        ("json-file", {}, None),
        ("json-file", {"tag": "x"}, None),
        ("json-file", {"max_size": "10k"}, Rotation(max_bytes=10_000, files=1)),
        ("json-file", {"max_size": "1.5m", "max_file": "3"}, Rotation(max_bytes=1_500_000, files=3)),
        (
            "json-file",
            {"max_size": "1k", "max_file": "2", "compress": "true"},
            Rotation(max_bytes=1000, files=2, compress=True),
        ),
        ("local", {}, Rotation(max_bytes=20_000_000, files=5, compress=True)),
        ("local", {"max_size": "1m", "max_file": "1"}, Rotation(max_bytes=1_000_000, files=1)),
        ("none", {}, Rotation(max_bytes=16 * MIB, files=1)),
        ("syslog", {}, Rotation(max_bytes=20_000_000, files=5, compress=True)),
        ("journald", {"cache_max_size": "1k"}, Rotation(max_bytes=1000, files=5, compress=True)),
    ],
)  # fmt: skip
def test_how_much_is_kept(driver, options, rotation):
    assert made(driver, **options).rotation == rotation


@pytest.mark.parametrize(
    ("driver", "options", "text"),
    [
        ("foo", {}, 'error looking up logging plugin foo: plugin "foo" not found'),
        ("json-file", {"zz": "1"}, "unknown log opt 'zz' for json-file log driver"),
        ("local", {"tag": "x"}, "unknown log opt 'tag' for local log driver"),
        ("syslog", {"max-size": "1m"}, "unknown log opt 'max-size' for syslog log driver"),
        ("journald", {"syslog-tag": "x"}, "unknown log opt 'syslog-tag' for journald log driver"),
        ("json-file", {"mode": "fast"}, "logger: logging mode not supported: fast"),
        (
            "json-file",
            {"max-buffer-size": "1m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        ("json-file", {"mode": "non-blocking", "max-buffer-size": "x"}, "error parsing option max-buffer-size"),
        ("json-file", {"max-size": "big"}, "failed to initialize logging driver: invalid size: 'big'"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-size": "1k", "max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"compress": "true"}, "compress cannot be true when max-file is less than 2"),
        ("json-file", {"tag": "{{.Nosuch}}"}, "the template of a tag takes"),
        ("json-file", {"labels-regex": "("}, "error parsing regexp"),
        ("syslog", {"syslog-facility": "x"}, "invalid syslog facility"),
        ("syslog", {"syslog-format": "x"}, "Invalid syslog format"),
        ("syslog", {"syslog-address": "http://x"}, "unsupported scheme: 'http'"),
        ("syslog", {"syslog-address": "tcp://x:port"}, "parse"),
    ],
)
def test_refusals(driver, options, text):
    with pytest.raises(InvalidParameter) as refused:
        check(driver, options)
    assert text in str(refused.value)


def test_what_docker_has_and_this_engine_does_not():
    with pytest.raises(Unsupported, match="logging driver gelf is not supported yet"):
        check("gelf", {})


def test_what_can_be_read():
    assert made("json-file").is_readable
    assert made("syslog").is_readable
    assert not made("syslog", cache_disabled="true").is_readable
    assert not made("none").is_readable


def test_tags_and_attributes():
    found = made("json-file", tag="{{.Name}}/{{.ImageName}}/{{ .ID }}", labels="tier,nosuch", env_regex="^MO")
    assert found.attributes == {"tier": "front", "MODE": "fast", "tag": f"web/busybox:latest/{'ab' * 6}"}
    assert details(found.attributes).startswith("MODE=fast,tag=web%2Fbusybox%3Alatest%2F")
    assert made("syslog").tag == "ab" * 6
    assert made("journald", tag="{{.ImageID}}").tag == "cd" * 6
    assert details({}) == ""


def test_syslog_targets():
    target = made("syslog", syslog_address="tcp+tls://log.example:6514", syslog_facility="local7").syslog
    assert target is not None
    assert (target.scheme, target.host, target.port, target.facility) == ("tcp+tls", "log.example", 6514, 23)
    other = made("syslog", syslog_address="udp://127.0.0.1", syslog_facility="17").syslog
    assert other is not None
    assert (other.port, other.facility) == (514, 17)
    local = made("syslog", syslog_address="unixgram:///run/x.sock").syslog
    assert local is not None
    assert (local.scheme, local.path, local.facility) == ("unixgram", "/run/x.sock", 3)


def test_buffers():
    assert made("syslog").buffer_bytes == 0
    assert made("syslog", mode="non-blocking").buffer_bytes == MIB
    assert made("syslog", mode="non-blocking", max_buffer_size="4k").buffer_bytes == 4096
