"""`--link`: another container of the default bridge by a name of one's own, also when it comes back elsewhere."""

import pytest

from tests.clients.options import refusal
from tests.clients.raw import RawClient

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket) as connection:
        yield connection


@pytest.fixture
def database(engine):
    """A container that others link to."""
    engine.docker(
        "run", "-d", "--name", "db", "--hostname", "dbhost", "-e", "SECRET=x=y", "-e", "HOME=/h", "--expose", "5432",
        "--expose", "53/udp", "--expose", "8000-8002", "busybox", "sleep", "600",
    )  # fmt: skip
    yield "db"
    engine.docker("rm", "-f", "db", check=False)


def address(engine, name: str) -> str:
    return str(engine.inspect(name)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def test_names_and_variables_of_a_linked_container(engine, database):
    there = address(engine, database)
    out = engine.out(
        "run", "--rm", "--name", "web", "--link", "db:my-sql", "busybox", "sh", "-c", "cat /etc/hosts; env"
    )
    lines = out.splitlines()
    assert f"{there}\tmy-sql dbhost db" in lines
    assert {
        "MY_SQL_NAME=/web/my-sql",
        f"MY_SQL_PORT=tcp://{there}:5432",
        f"MY_SQL_PORT_5432_TCP=tcp://{there}:5432",
        f"MY_SQL_PORT_5432_TCP_ADDR={there}",
        "MY_SQL_PORT_5432_TCP_PORT=5432",
        "MY_SQL_PORT_5432_TCP_PROTO=tcp",
        f"MY_SQL_PORT_53_UDP=udp://{there}:53",
        f"MY_SQL_PORT_8000_TCP_START=tcp://{there}:8000",
        "MY_SQL_PORT_8000_TCP_PORT_END=8002",
        "MY_SQL_ENV_SECRET=x=y",
    } <= set(lines)
    assert not [line for line in lines if line.startswith("MY_SQL_ENV_HOME")]


def test_an_alias_is_a_name_that_resolves(engine, database):
    out = engine.out("run", "--rm", "--link", "db", "busybox", "ping", "-c", "1", "-W", "5", "db")
    assert "1 packets received" in out


def test_a_target_that_comes_back_with_another_address_is_found_again(engine, database):
    engine.docker("run", "-d", "--name", "web", "--link", "db:store", "busybox", "sleep", "600")
    before = address(engine, database)
    script = "printf '9.9.9.9\\tmine # of the container itself\\n' >> /etc/hosts"
    engine.docker("exec", "web", "sh", "-c", script)
    engine.docker("stop", "-t", "0", "db")
    engine.docker("run", "-d", "--name", "squatter", "busybox", "sleep", "600")
    engine.docker("start", "db")
    after = address(engine, database)
    assert after != before
    hosts = engine.out("exec", "web", "cat", "/etc/hosts").splitlines()
    assert f"{after}\tstore dbhost db" in hosts
    assert not [line for line in hosts if line.startswith(f"{before}\t")]
    assert "9.9.9.9\tmine # of the container itself" in hosts
    assert f"STORE_PORT_5432_TCP_ADDR={after}" in engine.out("exec", "web", "env").splitlines()
    engine.docker("rm", "-f", "web", "squatter")


def test_links_are_shown_and_follow_a_rename(engine, database, client):
    engine.docker("create", "--name", "web", "--link", "db:store", "--link", "db", "busybox", "true")
    assert engine.inspect("web")["HostConfig"]["Links"] == ["/db:/web/store", "/db:/web/db"]
    assert engine.out("ps", "--no-trunc", "--format", "{{.Names}}", "--filter", "name=db") == "db,web/store,web/db"
    engine.docker("rename", "db", "base")
    engine.docker("rename", "web", "site")
    assert engine.inspect("site")["HostConfig"]["Links"] == ["/base:/site/store", "/base:/site/db"]
    body = {"Image": "busybox", "HostConfig": {"Links": engine.inspect("site")["HostConfig"]["Links"]}}
    assert client.ask("POST", "/containers/create?name=copy", body).status == 201
    assert engine.inspect("copy")["HostConfig"]["Links"] == ["/base:/copy/store", "/base:/copy/db"]
    engine.docker("rm", "-f", "base")
    assert engine.inspect("copy")["HostConfig"]["Links"] is None
    engine.docker("start", "-a", "site")
    engine.docker("rm", "site", "copy")


def test_a_link_to_what_does_not_run(engine, database):
    engine.docker("create", "--name", "web", "--link", "db:store", "busybox", "true")
    engine.docker("stop", "-t", "0", "db")
    refused = engine.docker("start", "web", check=False)
    assert b"Cannot link to a non running container: /db AS /web/store" in refused.stderr
    engine.docker("start", "db")
    engine.docker("start", "-a", "web")
    engine.docker("rm", "web")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--link", "nosuch:x"), "could not get container for nosuch: No such container: nosuch"),
        (("--link", "db:x", "--network", "host"), "host type networking can't be used with links"),
    ],
)
def test_a_link_that_cannot_be(engine, database, options, text):
    assert text in refusal(engine, *options)


@pytest.mark.parametrize("links", [[""], ["a:b:c"], [":b"], ["db:"]])
def test_a_link_that_makes_no_sense(client, database, links):
    answer = client.ask("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Links": links}})
    assert answer.status == 400
    assert "links" in answer.message


def test_links_survive_the_daemon(engine, database):
    engine.docker("run", "-d", "--name", "web", "--link", "db:store", "busybox", "sleep", "600")
    engine.restart()
    engine.docker("run", "-d", "--name", "squatter", "busybox", "sleep", "600")
    engine.docker("restart", "-t", "0", "db")
    hosts = engine.out("exec", "web", "cat", "/etc/hosts").splitlines()
    assert f"{address(engine, 'db')}\tstore dbhost db" in hosts
    engine.docker("rm", "-f", "web", "squatter")


def test_a_link_is_removed_and_both_containers_stay(engine, database):
    engine.docker("create", "--name", "web", "--link", "db:store", "--link", "db", "busybox", "cat", "/etc/hosts")
    engine.docker("rm", "--link", "web/store")
    assert engine.inspect("web")["HostConfig"]["Links"] == ["/db:/web/db"]
    assert engine.out("ps", "--format", "{{.Names}}", "--filter", "name=db") == "db"
    assert "store" not in engine.out("start", "-a", "web")
    with RawClient(engine.socket) as client:
        assert client.ask("DELETE", "/containers/web/store?link=1").status == 204
        assert client.ask("DELETE", "/containers/web?link=1").status == 409
        assert client.ask("DELETE", "/containers/nosuch/store?link=1").status == 404
    engine.docker("rm", "web")
