"""The variables of a linked container, as Docker names them."""

from handlers.exec.links import variables


def test_a_container_without_ports_has_a_name_and_its_variables():
    found = variables("/web/data-base", "172.17.0.2", (), ("A=1", "HOME=/root", "PATH=/bin", "EMPTY=", "bare", "B=x=y"))
    assert found == (
        "DATA_BASE_NAME=/web/data-base",
        "DATA_BASE_ENV_A=1",
        "DATA_BASE_ENV_EMPTY=",
        "DATA_BASE_ENV_B=x=y",
    )


def test_the_first_port_is_the_lowest_of_tcp():
    found = variables("/web/db", "172.17.0.2", [(53, "udp"), (90, "tcp"), (80, "tcp")], ())
    assert "DB_PORT=tcp://172.17.0.2:80" in found
    assert {
        "DB_PORT_53_UDP=udp://172.17.0.2:53",
        "DB_PORT_53_UDP_ADDR=172.17.0.2",
        "DB_PORT_53_UDP_PORT=53",
        "DB_PORT_53_UDP_PROTO=udp",
    } <= set(found)
    assert not [entry for entry in found if "_START" in entry]


def test_ports_that_follow_one_another_are_a_range_too():
    ports = [(80, "tcp"), (81, "tcp"), (82, "tcp"), (90, "tcp"), (82, "udp"), (83, "udp")]
    found = variables("/web/db", "a", ports, ())
    assert [entry for entry in found if "_START" in entry or "_END" in entry] == [
        "DB_PORT_80_TCP_START=tcp://a:80",
        "DB_PORT_80_TCP_PORT_START=80",
        "DB_PORT_80_TCP_END=tcp://a:82",
        "DB_PORT_80_TCP_PORT_END=82",
        "DB_PORT_82_UDP_START=udp://a:82",
        "DB_PORT_82_UDP_PORT_START=82",
        "DB_PORT_82_UDP_END=udp://a:83",
        "DB_PORT_82_UDP_PORT_END=83",
    ]
