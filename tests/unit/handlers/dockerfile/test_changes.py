"""Dockerfile instructions on a configuration, in the forms that Docker takes."""

import pytest

from events.errors import InvalidParameter
from events.messages.image import HealthcheckConfig, RunConfig
from handlers.dockerfile.changes import apply_changes
from handlers.dockerfile.healthcheck import parse_duration_ns
from handlers.dockerfile.words import expand, split_words

BASE = RunConfig(env=("PATH=/bin", "A=1"), working_dir="/srv", cmd=("old",), labels={"keep": "me"})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["a", "b c"]', {"cmd": ("a", "b c")}),
        ("cmd echo hi", {"cmd": ("/bin/sh", "-c", "echo hi")}),
        ("CMD [a, b]", {"cmd": ("/bin/sh", "-c", "[a, b]")}),
        ("CMD []", {"cmd": ()}),
        ('ENTRYPOINT ["/x"]', {"entrypoint": ("/x",), "cmd": ()}),
        ("ENTRYPOINT /x $A", {"entrypoint": ("/bin/sh", "-c", "/x $A"), "cmd": ()}),
        ("ENV B=2", {"env": ("PATH=/bin", "A=1", "B=2")}),
        ("ENV A=2", {"env": ("PATH=/bin", "A=2")}),
        ("ENV B two words", {"env": ("PATH=/bin", "A=1", "B=two words")}),
        ("ENV B=\"two words\" C='$A' D=$A", {"env": ("PATH=/bin", "A=1", "B=two words", "C=$A", "D=1")}),
        (r"ENV B=a\ b C=${A}x", {"env": ("PATH=/bin", "A=1", "B=a b", "C=1x")}),
        ("ENV A=2 B=$A", {"env": ("PATH=/bin", "A=2", "B=1")}),
        ("ENV PATH=/x:$PATH", {"env": ("PATH=/x:/bin", "A=1")}),
        ("EXPOSE 80 53/udp 90-91", {"exposed_ports": {"53/udp": {}, "80/tcp": {}, "90/tcp": {}, "91/tcp": {}}}),
        ('LABEL a=b "c d"="e f"', {"labels": {"keep": "me", "a": "b", "c d": "e f"}}),
        ("LABEL keep=", {"labels": {"keep": ""}}),
        ("USER 1000:100", {"user": "1000:100"}),
        ("WORKDIR /a/b/../c", {"working_dir": "/a/c"}),
        ("WORKDIR sub", {"working_dir": "/srv/sub"}),
        ('WORKDIR "/with space"', {"working_dir": "/with space"}),
        ('VOLUME ["/a", "/b c"]', {"volumes": {"/a": {}, "/b c": {}}}),
        ("VOLUME /a /b", {"volumes": {"/a": {}, "/b": {}}}),
        ("STOPSIGNAL SIGQUIT", {"stop_signal": "SIGQUIT"}),
        ("STOPSIGNAL 9", {"stop_signal": "9"}),
        ("STOPSIGNAL RTMIN+3", {"stop_signal": "RTMIN+3"}),
        ("ONBUILD RUN make", {"on_build": ("RUN make",)}),
        ('SHELL ["/bin/bash", "-c"]', {"shell": ("/bin/bash", "-c")}),
        ("HEALTHCHECK NONE", {"healthcheck": HealthcheckConfig(test=("NONE",))}),
        (
            'HEALTHCHECK --interval=1m30s --start-period=5s --retries=4 CMD ["curl", "x"]',
            {
                "healthcheck": HealthcheckConfig(
                    test=("CMD", "curl", "x"), interval=90 * 10**9, start_period=5 * 10**9, retries=4
                )
            },
        ),
        ("HEALTHCHECK CMD curl x", {"healthcheck": HealthcheckConfig(test=("CMD-SHELL", "curl x"))}),
        ("# a comment", {}),
        ("ENV B=2 \\\n    C=3", {"env": ("PATH=/bin", "A=1", "B=2", "C=3")}),
    ],
)
def test_an_instruction_changes_what_it_names(change, expected):
    changed = apply_changes(BASE, (change,))
    kept = {name: getattr(BASE, name) for name in BASE.__struct_fields__}
    assert {name: getattr(changed, name) for name in BASE.__struct_fields__} == kept | expected


def test_instructions_work_in_order():
    changed = apply_changes(RunConfig(), ('SHELL ["ash"]', "CMD x", "ENV A=1", "ENV B=$A"))
    assert changed.cmd == ("ash", "x")
    assert changed.env == ("A=1", "B=1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN x", "run is not a valid change command"),
        ("nonsense", "nonsense is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", 'Syntax error - can\'t find = in "B". Must be of the form: name=value'),
        ("ENV =1", "ENV names can not be blank"),
        (
            'ENV A="1',
            'failed to process "\\"1": unexpected end of statement while looking for matching double-quote',
        ),
        ("EXPOSE x", "invalid containerPort: x"),
        ("EXPOSE 80/foo", "invalid containerPort: 80/foo"),
        ("EXPOSE 70000", "invalid containerPort: 70000"),
        ("EXPOSE 90-80", "invalid containerPort: 90-80"),
        ("STOPSIGNAL FOO", "invalid signal: FOO"),
        ("STOPSIGNAL 65", "invalid signal: 65"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("SHELL bash", "SHELL requires the arguments to be in JSON form"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK curl", 'Unknown type "CURL" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK --often=1s CMD x", "unknown flag: --often=1s"),
        ("HEALTHCHECK --interval=often CMD x", 'time: invalid duration "often"'),
        ("ENV A=${B:?}", 'failed to process "${B:?}": B: is not allowed to be unset'),
        ("ENV A=${B:=1}", 'failed to process "${B:=1}": unsupported modifier (:=) in substitution'),
        ("ENV A=${B", "failed to process \"${B\": missing ':' in substitution"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(InvalidParameter) as refusal:
        apply_changes(RunConfig(), (change,))
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A:-x}${B:-x}${E:-x}${E-x}${B-x}", "1xxx"),
        ("${A:+y}${B:+y}${E:+y}${E+y}${B+y}", "yy"),
        ("$", "$"),
        (r"\$A", "$A"),
        (r'"\$A \n"', r"$A \n"),
        ("'$A'", "$A"),
        ('"it\'s"', "it's"),
        ("$A$B.", "1."),
    ],
)
def test_words_expand(text, expected):
    assert expand(text, {"A": "1", "E": ""}) == expected


def test_words_split_where_nothing_encloses_the_blank():
    assert list(split_words(r"""a "b c" d\ e 'f "g' """)) == ["a", '"b c"', r"d\ e", "'f \"g'"]


def test_durations_are_gos():
    assert parse_duration_ns("1h2m3s4ms5us6ns") == 3_723_004_005_006
    assert parse_duration_ns("1.5s") == 1_500_000_000
