"""What the daemon accepts of flags and daemon.json, and how it words what it refuses."""

import json
from pathlib import Path

import pytest

from daemon import config
from daemon.flags import DIRECTIVES, ConfigurationInvalid
from events.messages.container import Ulimit
from handlers.images.registry_settings import Proxies
from handlers.networks.settings import DEFAULT_POOLS, AddressPool


@pytest.fixture
def load(tmp_path: Path):
    """Load with a configuration file of these directives (none: no file)."""

    def loaded(*arguments: str, **file: object) -> config.Configuration:
        path = tmp_path / "daemon.json"
        path.write_text(json.dumps({key.replace("_", "-"): value for key, value in file.items()}))
        return config.load(["--config-file", str(path), *arguments])

    return loaded


def test_defaults(load):
    made = load()
    assert str(made.instance.data_root) == "/var/lib/shiplog"
    assert made.hosts == ("unix:///run/shiplog/shiplog.sock",)
    assert str(made.pidfile) == "/run/shiplog/shiplogd.pid"
    assert (made.live_restore, made.shutdown_timeout_s, made.default_runtime) == (True, 15, "runc")
    assert (made.cgroup_driver, made.cgroup_parent) == ("cgroupfs", "/shiplog")
    assert made.default_shm_bytes == 64 * 1024 * 1024
    assert made.network.address_pools == DEFAULT_POOLS


def test_another_instance_shares_nothing_with_the_default(load):
    one, other = load(), load("--instance", "blue")
    assert other.hosts == ("unix:///run/shiplog-blue/shiplog.sock",)
    assert str(other.instance.data_root) == "/var/lib/shiplog-blue"
    for name in ("bridge", "firewall_table", "cgroup_parent", "link_prefix", "exec_root", "data_root"):
        assert getattr(one.instance, name) != getattr(other.instance, name)


def test_another_instance_has_a_file_of_its_own():
    assert config.load([]).file == Path("/etc/shiplog/daemon.json")
    assert config.load(["--instance", "blue"]).file == Path("/etc/shiplog/daemon-blue.json")


FLAG_AND_FILE = [
    (["--debug"], {"debug": True}, "debug", True),
    (["-D"], {"debug": True}, "debug", True),
    (["--live-restore=false"], {"live_restore": False}, "live_restore", False),
    (["-l", "warn"], {"log_level": "warn"}, "log_level", "warn"),
    (["--label", "a=b", "--label=c=d"], {"labels": ["a=b", "c=d"]}, "labels", ("a=b", "c=d")),
    (["--shutdown-timeout", "3"], {"shutdown_timeout": 3}, "shutdown_timeout_s", 3),
    (["-s", "vfs"], {"storage_driver": "vfs"}, "storage_driver", "vfs"),
    (
        ["--storage-opt", "zfs.fsname=tank/x", "--storage-opt", "DM.basesize=10G"],
        {"storage_opts": ["zfs.fsname=tank/x", "dm.basesize=10G"]},
        "storage_options",
        {"zfs.fsname": "tank/x", "dm.basesize": "10G"},
    ),
    (
        ["--add-runtime", "crun=/usr/bin/crun"],
        {"runtimes": {"crun": {"path": "/usr/bin/crun"}}},
        "runtimes",
        {"crun": "/usr/bin/crun"},
    ),
    (
        ["--exec-opt", "native.cgroupdriver=systemd"],
        {"exec_opts": ["native.cgroupdriver=systemd"]},
        "cgroup_driver",
        "systemd",
    ),
    (["--init"], {"init": True}, "init", True),
    (["--init-path", "/bin/true"], {"init_path": "/bin/true"}, "init_path", "/bin/true"),
    (["--default-ipc-mode", "shareable"], {"default_ipc_mode": "shareable"}, "default_ipc_mode", "shareable"),
    (["--default-cgroupns-mode", "host"], {"default_cgroupns_mode": "host"}, "default_cgroupns_mode", "host"),
    (["--no-new-privileges"], {"no_new_privileges": True}, "no_new_privileges", True),
    (["--seccomp-profile", "unconfined"], {"seccomp_profile": "unconfined"}, "seccomp_profile", "unconfined"),
    (["--cpu-rt-period", "5000"], {"cpu_rt_period": 5000}, "cpu_realtime_period_us", 5000),
    (["--cpu-rt-runtime", "4000"], {"cpu_rt_runtime": 4000}, "cpu_realtime_runtime_us", 4000),
    (["--default-shm-size", "1.5g"], {"default_shm_size": "1.5g"}, "default_shm_bytes", 3 << 29),
    (["-p", "/run/x.pid"], {"pidfile": "/run/x.pid"}, "pidfile", Path("/run/x.pid")),
    (["-G", "root"], {"group": "root"}, "group", "root"),
    (["--group", "0"], {"group": "0"}, "group", "0"),
    (["--group", ""], {"group": ""}, "group", ""),
    (["-H", "unix:///a", "-H", "fd://"], {"hosts": ["unix:///a", "fd://"]}, "hosts", ("unix:///a", "fd://")),
    (
        ["--default-ulimit", "nofile=10:20", "--default-ulimit", "core=0"],
        {"default_ulimits": {"nofile": {"Name": "nofile", "Soft": 10, "Hard": 20}, "core": {"Soft": 0, "Hard": 0}}},
        "default_ulimits",
        (Ulimit(name="nofile", soft=10, hard=20), Ulimit(name="core", soft=0, hard=0)),
    ),
]


@pytest.mark.parametrize(("arguments", "file", "field", "expected"), FLAG_AND_FILE)
def test_flag_and_key_mean_the_same(load, arguments, file, field, expected):
    assert getattr(load(*arguments), field) == expected
    assert getattr(load(**file), field) == expected
    assert getattr(load(), field) != expected or field == "group"  # root has it by default on some hosts


REGISTRIES = [
    (["--insecure-registry", "10.0.0.0/8"], {"insecure_registries": ["10.0.0.0/8"]}, "insecure", ("10.0.0.0/8",)),
    (
        ["--registry-mirror", "https://m.example"],
        {"registry_mirrors": ["https://m.example"]},
        "mirrors",
        ("https://m.example/",),
    ),
    (["--max-concurrent-downloads", "7"], {"max_concurrent_downloads": 7}, "downloads", 7),
    (["--max-concurrent-uploads", "7"], {"max_concurrent_uploads": 7}, "uploads", 7),
    (["--max-download-attempts", "7"], {"max_download_attempts": 7}, "attempts", 7),
    (
        ["--http-proxy", "http://p:1", "--https-proxy", "p:2", "--no-proxy", "a"],
        {"proxies": {"http-proxy": "http://p:1", "https-proxy": "p:2", "no-proxy": "a"}},
        "proxies",
        Proxies(http="http://p:1", https="p:2", exceptions="a"),
    ),
]


@pytest.mark.parametrize(("arguments", "file", "field", "expected"), REGISTRIES)
def test_registry_settings(load, arguments, file, field, expected):
    assert getattr(load(*arguments).registries, field) == expected
    assert getattr(load(**file).registries, field) == expected
    assert getattr(load().registries, field) != expected


NETWORK = [
    (["--bip", "10.1.0.1/24"], {"bip": "10.1.0.1/24"}, "bip", "10.1.0.1/24"),
    (["--mtu", "1400"], {"mtu": 1400}, "mtu", 1400),
    (["--dns", "1.1.1.1"], {"dns": ["1.1.1.1"]}, "dns", ("1.1.1.1",)),
    (["--dns-search", "a.b"], {"dns_search": ["a.b"]}, "dns_search", ("a.b",)),
    (["--dns-opt", "ndots:1"], {"dns_opts": ["ndots:1"]}, "dns_options", ("ndots:1",)),
    (["--iptables=false"], {"iptables": False}, "iptables", False),
    (["--userland-proxy=false"], {"userland_proxy": False}, "userland_proxy", False),
    (["--icc=false"], {"icc": False}, "inter_container", False),
    (["--ip-masq=false"], {"ip_masq": False}, "ip_masquerade", False),
    (["--host-gateway-ip", "10.0.0.1"], {"host_gateway_ip": "10.0.0.1"}, "host_gateway", "10.0.0.1"),
    (
        ["--default-address-pool", "base=10.0.0.0/8,size=24"],
        {"default_address_pools": [{"base": "10.0.0.0/8", "size": 24}]},
        "address_pools",
        (AddressPool(base="10.0.0.0/8", size=24),),
    ),
]


@pytest.mark.parametrize(("arguments", "file", "field", "expected"), NETWORK)
def test_network_settings(load, arguments, file, field, expected):
    assert getattr(load(*arguments).network, field) == expected
    assert getattr(load(**file).network, field) == expected


REFUSED = [
    (["--nonsense"], {}, "unknown flag: --nonsense"),
    (["--deb"], {}, "unknown flag: --deb"),
    (["run"], {}, "unexpected argument: run"),
    (["--debug=perhaps"], {}, 'invalid argument for --debug: invalid boolean "perhaps"'),
    (["--mtu", "much"], {}, "invalid argument for --mtu"),
    ([], {"nonsense": 1, "more": 2}, "the following directives don't match any configuration option: nonsense, more"),
    ([], {"validate": True}, "don't match any configuration option: validate"),
    ([], {"debug": "yes"}, "debug: 'yes' is neither true nor false"),
    ([], {"labels": "a=b"}, "labels: 'a=b' is not a list"),
    (["--instance", "Not/This"], {}, "instance: 'Not/This' is not 1 to 32"),
    (["-H", "ftp://x"], {}, "invalid bind address (ftp://x)"),
    (["-H", "unix://relative"], {}, "invalid bind address (unix://relative)"),
    (["-H", "tcp://127.0.0.1:99999"], {}, "the port is not a number up to 65535"),
    (["-H", "tcp://127.0.0.1:1"], {}, "use --tlsverify, or say --allow-unauthenticated-tcp"),
    (["--tlsverify"], {}, "tlsverify: --tlscacert is missing"),
    (["--tlscert", "/x"], {}, "tlscert: it acts with --tlsverify only"),
    (["--tlsverify", "--tlscacert=/absent", "--tlscert=/absent", "--tlskey=/absent"], {}, "could not read /absent"),
    (["--group", "nobody-has-this"], {}, "group nobody-has-this not found"),
    (["--group", "4294967295"], {}, "group 4294967295 not found"),
    (["--log-level", "loud"], {}, "log level not supported: loud"),
    (["--storage-driver", "windowsfilter"], {}, "driver not supported: windowsfilter"),
    (["--storage-opt", "size"], {}, "Unable to parse storage-opt key=value option size"),
    (["--log-driver", "gelf"], {}, "log driver not supported: gelf"),
    (["--log-opt", "size=1m"], {}, "log-opts: unknown log opt 'size' for json-file log driver"),
    (["--nats-url", "http://x"], {}, "invalid NATS address (http://x)"),
    (["--nats-url", "nats://a,nats://me:secret@b:99999"], {}, "invalid NATS address (b:99999)"),
    (["--bip", "172.17.0.0/16"], {}, "invalid CIDR address: 172.17.0.0/16"),
    (["--bip", "172.17.0.1"], {}, "invalid CIDR address: 172.17.0.1"),
    (["--default-address-pool", "base=10.0.0.0/24,size=16"], {}, "invalid pool size: 16 doesn't fit into 10.0.0.0/24"),
    (["--default-address-pool", "base=10.0.0.0/24"], {}, "it has a base and a size"),
    (["--mtu", "60"], {}, "invalid default MTU: 60"),
    (["--dns", "name"], {}, "name is not an ip address"),
    (["--label", "plain"], {}, "bad attribute format: plain"),
    (["--add-runtime", "runc=/x"], {}, "runtime name 'runc' is reserved"),
    ([], {"runtimes": {"kata": {"runtimeType": "io.containerd.kata.v2"}}}, "runtimeType not supported"),
    (["--default-runtime", "crun"], {}, "specified default runtime 'crun' does not exist"),
    (["--exec-opt", "native.x=y"], {}, "exec-opts: invalid option native.x"),
    (["--exec-opt", "native.cgroupdriver=z"], {}, 'native.cgroupdriver option "z" is invalid'),
    (["--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent", "/x"], {}, "has to be a slice"),
    (["--default-ulimit", "nofile=20:10"], {}, "soft limit must be less than or equal to hard limit: 20 > 10"),
    (["--default-ulimit", "nonsense=1"], {}, "invalid ulimit type: nonsense"),
    (["--default-shm-size", "big"], {}, "invalid size: 'big'"),
    (["--default-shm-size", "0"], {}, "greater than zero"),
    (["--shutdown-timeout", "-2"], {}, "-2 is not a number of seconds"),
    (["--insecure-registry", "https://x"], {}, "should not contain '://'"),
    (["--registry-mirror", "ftp://x"], {}, "is not a valid URI"),
]


@pytest.mark.parametrize(("arguments", "file", "message"), REFUSED)
def test_refusals_name_what_is_wrong(load, arguments, file, message):
    with pytest.raises(ConfigurationInvalid) as caught:
        load(*arguments, **file)
    assert message in str(caught.value)


def test_flag_and_file_together_are_refused_with_both_values(load):
    with pytest.raises(ConfigurationInvalid) as caught:
        load("--log-level", "debug", "--label", "a=b", log_level="info", labels=["c=d"])
    assert str(caught.value).endswith(
        "the following directives are specified both as a flag and in the configuration file: "
        'log-level: (from flag: debug, from file: info), labels: (from flag: ["a=b"], from file: ["c=d"])'
    )


@pytest.mark.parametrize("content", ["", "  \n", "{}"])
def test_an_empty_file_says_nothing(tmp_path, content):
    (tmp_path / "empty.json").write_text(content)
    assert config.load(["--config-file", str(tmp_path / "empty.json")]).debug is False


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "broken.json").write_text('{"debug": tru}')
    with pytest.raises(ConfigurationInvalid, match=r"broken\.json"):
        config.load(["--config-file", str(tmp_path / "broken.json")])


def test_a_file_that_was_asked_for_has_to_be_there(tmp_path):
    with pytest.raises(ConfigurationInvalid, match="no such file"):
        config.load(["--config-file", str(tmp_path / "absent.json")])


def test_validation_ends_the_process(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        config.load(["--validate"])
    assert caught.value.code == 0
    assert capsys.readouterr().err == "configuration OK\n"


def test_validation_refuses_what_a_start_would(tmp_path):
    (tmp_path / "daemon.json").write_text('{"nonsense": 1}')
    with pytest.raises(ConfigurationInvalid):
        config.load(["--validate", "--config-file", str(tmp_path / "daemon.json")])


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ("tcp://127.0.0.1", "tcp://127.0.0.1:2375"),
        ("127.0.0.1:9", "tcp://127.0.0.1:9"),
        ("tcp://[::1]", "tcp://[::1]:2375"),
        ("tcp://[::1]:7/", "tcp://[::1]:7"),
        ("tcp://:2375", "tcp://localhost:2375"),
    ],
)
def test_tcp_addresses_are_completed(load, given, served):
    assert load("--allow-unauthenticated-tcp", "-H", given).hosts == (served,)


@pytest.mark.parametrize(
    ("instance", "served"),
    [("default", "unix:///run/shiplog/shiplog.sock"), ("blue", "unix:///run/shiplog-blue/shiplog.sock")],
)
def test_a_unix_address_without_a_path_is_the_instance_s_own_socket(load, instance, served):
    assert load("--instance", instance, "-H", "unix://", "-H", "unix:///a").hosts == (served, "unix:///a")


def test_mutual_tls_has_docker_s_other_port(load, tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("pem")
    files = [f"--tls{name}={tmp_path / file}" for name, file in (("cacert", "ca"), ("cert", "cert"), ("key", "key"))]
    made = load("--tlsverify", *files, "-H", "tcp://10.0.0.1")
    assert made.hosts == ("tcp://10.0.0.1:2376",)
    assert made.tls is not None
    assert made.tls.key == tmp_path / "key"


def test_reload_takes_what_can_change_and_names_what_waits(load, tmp_path):
    old = load("--mtu", "1400", debug=False, labels=["a=b"], bip="10.1.0.1/24")
    (tmp_path / "daemon.json").write_text('{"debug": true, "bip": "10.2.0.1/24"}')
    result = config.reload(old)
    assert result.changed == ("debug", "labels")
    assert result.postponed == ("bip",)
    assert (result.configuration.debug, result.configuration.labels) == (True, ())
    assert (result.configuration.network.bip, result.configuration.network.mtu) == ("10.1.0.1/24", 1400)


def test_runtimes_wait_for_the_next_start(load, tmp_path):
    old = load()
    (tmp_path / "daemon.json").write_text('{"runtimes": {"crun": {"path": "crun"}}, "default-runtime": "crun"}')
    result = config.reload(old)
    assert (result.changed, result.postponed) == ((), ("default-runtime", "runtimes"))
    assert result.configuration == old


def test_reload_without_a_difference_changes_nothing(load):
    old = load(debug=True)
    result = config.reload(old)
    assert (result.configuration, result.changed, result.postponed) == (old, (), ())


def test_reload_refuses_a_key_that_is_a_flag_too(load, tmp_path):
    old = load("--debug")
    (tmp_path / "daemon.json").write_text('{"debug": false}')
    with pytest.raises(ConfigurationInvalid, match="both as a flag and in the configuration file: debug"):
        config.reload(old)


def test_no_flag_and_no_key_stands_in_the_table_twice():
    options = [row.option for row in DIRECTIVES]
    keys = [row.key for row in DIRECTIVES]
    shorts = [row.short for row in DIRECTIVES if row.short]
    assert all(len(names) == len(set(names)) for names in (options, keys, shorts))


def test_a_default_runtime_may_come_from_either_side(load):
    made = load("--default-runtime", "crun", runtimes={"crun": {"path": "crun"}})
    assert (made.default_runtime, made.runtimes) == ("crun", {"crun": "crun"})
