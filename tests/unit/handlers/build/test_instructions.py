"""Instructions on a stage's configuration, and what the history says of them; the texts are dockerd's."""

import pytest

from events.messages.image import HealthcheckConfig, RunConfig
from handlers.build.instructions import change, nop, without_triggers
from handlers.build.plan import Label
from handlers.dockerfile.changes import Reading
from handlers.dockerfile.grammar import parse

BASE = RunConfig(env=("PATH=/bin",), cmd=("sh",))


def changed(line, config=BASE, *, environment=None, is_cmd_set=False):
    (step,) = parse(line).instructions
    return change(config, step, Reading(environment=environment or {}), is_cmd_set=is_cmd_set)


@pytest.mark.parametrize(
    ("line", "comment"),
    [
        ('ENV A=b C="d e"', "ENV A=b C=d e"),
        ("ENV old way", "ENV old=way"),
        ("LABEL q=$V", "LABEL q=v"),
        ('CMD ["a", "b"]', 'CMD ["a" "b"]'),
        ("ENTRYPOINT a $b", 'ENTRYPOINT ["/bin/sh" "-c" "a $b"]'),
        ("EXPOSE 90 80/tcp", "EXPOSE 80/tcp 90"),
        ("VOLUME /v /w", "VOLUME [/v /w]"),
        ("USER nobody", "USER nobody"),
        ("WORKDIR /w/$V", "WORKDIR /w/v"),
        ("STOPSIGNAL 9", "STOPSIGNAL 9"),
        ("HEALTHCHECK --interval=5s CMD foo", 'HEALTHCHECK &{["CMD-SHELL" "foo"] "5s" "0s" "0s" \'\\x00\'}'),
        (
            'HEALTHCHECK --timeout=90s --start-period=1500ms --retries=3 CMD ["a"]',
            'HEALTHCHECK &{["CMD" "a"] "0s" "1m30s" "1.5s" \'\\x03\'}',
        ),
        ("HEALTHCHECK NONE", 'HEALTHCHECK &{["NONE"] "0s" "0s" "0s" \'\\x00\'}'),
        ('SHELL ["/bin/x", "-y"]', "SHELL [/bin/x -y]"),
        ("ONBUILD RUN echo $A", "ONBUILD RUN echo $A"),
        ("MAINTAINER me <x>", "MAINTAINER me <x>"),
    ],
)
def test_what_the_history_says(line, comment):
    assert changed(line, environment={"V": "v"}).comment == comment


def test_the_new_shell_tells_of_itself():
    made = changed('SHELL ["/bin/x", "-y"]')
    assert " ".join(nop(made.config, made.comment)) == "/bin/x -y #(nop)  SHELL [/bin/x -y]"


def test_an_entry_point_takes_away_the_command_of_the_base_only():
    assert changed("ENTRYPOINT x").config.cmd == ()
    assert changed("ENTRYPOINT x", is_cmd_set=True).config.cmd == ("sh",)


def test_a_label_of_the_client_is_taken_as_it_is():
    made = change(BASE, Label(name="a", value="$x"), Reading(), is_cmd_set=False)
    assert (made.config.labels, made.comment) == ({"a": "$x"}, "LABEL a=$x")


def test_a_probe_that_takes_another_ones_place_is_told_of():
    old = RunConfig(healthcheck=HealthcheckConfig(test=("CMD-SHELL", "a")))
    assert changed("HEALTHCHECK CMD b", old).note == "Note: overriding previous HEALTHCHECK: [CMD-SHELL a]"
    assert changed("HEALTHCHECK CMD b").note == ""


def test_a_stage_begins_without_triggers_and_with_a_path():
    begun = without_triggers(RunConfig(on_build=("RUN x",), env=("A=b",)))
    assert begun.on_build == ()
    assert begun.env[0] == "A=b"
    assert begun.env[1].startswith("PATH=/usr/local/sbin:")
    assert without_triggers(BASE).env == BASE.env
