"""Which engine is meant."""

import hashlib
import json

import pytest

from clients.api import DEFAULT_HOST
from clients.cli.settings import (
    Flags,
    SettingsError,
    Tls,
    contexts,
    elsewhere,
    read_configuration,
    resolve,
    write_current_context,
)


def make_context(directory, name: str, host: str) -> None:
    place = directory / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    place.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {"Description": "far"}, "Endpoints": {"docker": {"Host": host}}}
    (place / "meta.json").write_text(json.dumps(meta))


def test_this_hosts_engine_unless_something_is_said(tmp_path):
    assert resolve(Flags(), {"HOME": str(tmp_path)}).host == DEFAULT_HOST


def test_flags_come_before_the_environment_and_that_before_contexts(tmp_path):
    make_context(tmp_path, "far", "tcp://far:2376")
    write_current_context(tmp_path, "far")
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    assert resolve(Flags(), environment).host == "tcp://far:2376"
    assert resolve(Flags(), environment | {"DOCKER_HOST": "unix:///d.sock"}).host == "unix:///d.sock"
    both = environment | {"DOCKER_HOST": "unix:///d.sock", "SHIPLOG_HOST": "unix:///s.sock"}
    assert resolve(Flags(), both).host == "unix:///s.sock"
    assert resolve(Flags(host="unix:///f.sock"), both).host == "unix:///f.sock"
    assert resolve(Flags(context="default"), environment).host == DEFAULT_HOST
    with pytest.raises(SettingsError, match="can't be used together"):
        resolve(Flags(host="unix:///x", context="far"), environment)


def test_a_context_that_is_asked_for_comes_before_the_environment(tmp_path):
    make_context(tmp_path, "far", "tcp://far:2376")
    environment = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_HOST": "unix:///d.sock", "SHIPLOG_HOST": "unix:///s.sock"}
    assert resolve(Flags(context="far"), environment).host == "tcp://far:2376"


def test_another_engine_is_a_host_or_a_context_with_the_same_tls(tmp_path):
    make_context(tmp_path, "far", "tcp://far:2376")
    material = tmp_path / "contexts/tls" / hashlib.sha256(b"far").hexdigest() / "docker"
    material.mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (material / name).touch()
    environment = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_HOST": "unix:///d.sock"}
    ours = Flags(host="unix:///mine", tls_verify=True, authority="/a", certificate="/c", key="/k", at="17")
    named = resolve(elsewhere(ours, "tcp://new"), environment)
    assert (named.host, named.at) == ("tcp://new:2376", "")
    assert named.tls == Tls(authority="/a", certificate="/c", key="/k")
    known = resolve(elsewhere(Flags(), "far"), environment)
    assert known.host == "tcp://far:2376"
    assert known.tls == Tls(
        authority=str(material / "ca.pem"), certificate=str(material / "cert.pem"), key=str(material / "key.pem")
    )


def test_a_context_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match='context "nope": context not found'):
        resolve(Flags(context="nope", config=str(tmp_path)), {})


def test_choosing_a_context_leaves_the_rest_of_the_file(tmp_path):
    (tmp_path / "config.json").write_text('{"auths":{"r":{}},"other":1}')
    make_context(tmp_path, "far", "tcp://far:2376")
    write_current_context(tmp_path, "far")
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "auths": {"r": {}},
        "other": 1,
        "currentContext": "far",
    }
    assert [(each.name, each.description) for each in contexts(tmp_path)] == [("far", "far")]
    write_current_context(tmp_path, "default")
    assert read_configuration(tmp_path).current_context == ""


def test_tcp_has_dockers_ports(tmp_path):
    assert resolve(Flags(host="tcp://far"), {"HOME": str(tmp_path)}).host == "tcp://far:2375"
    assert resolve(Flags(host="tcp://far", tls=True), {"HOME": str(tmp_path)}).host == "tcp://far:2376"
    assert resolve(Flags(host="tcp://[::1]:99"), {"HOME": str(tmp_path)}).host == "tcp://[::1]:99"


def test_a_file_that_is_damaged_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SettingsError, match=r"config\.json can't be read"):
        resolve(Flags(config=str(tmp_path)), {})
