"""The packages for Debian and OpenWrt: what is in them, and their scripts under busybox' ash.

`packaging/deb/test` installs and upgrades a .deb for real, in a Debian of its own."""

import getpass
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from harness import FOOTBRIDGE, ROOT

pytestmark = pytest.mark.footbridge

VERSION = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
UCI = ROOT / "tests/configs/uci"
FILES = ROOT / "packaging/openwrt/files"
FUNCTIONS = ROOT / "tests/outside/openwrt_functions.sh"

needs_busybox = pytest.mark.skipif(
    not shutil.which("busybox"), reason="needs busybox: apt-get install busybox"
)


def make(kind, architecture, folder, binary):
    """The package, made twice: its bytes are the same."""
    made = []
    for name in ("first", "second"):
        done = subprocess.run(
            [ROOT / "packaging" / kind / "make", architecture, binary, folder / name],
            capture_output=True,
            text=True,
            check=True,
        )
        made.append(Path(done.stdout.strip()))
    first, second = (hashlib.sha256(path.read_bytes()).digest() for path in made)
    assert first == second, "two runs, other bytes"
    return made[0]


@pytest.fixture(scope="module")
def small_binary(tmp_path_factory):
    """What is in a package does not matter for its form: no 20 MB need be compressed for that."""
    path = tmp_path_factory.mktemp("binary") / "footbridge"
    path.write_bytes(b"\x7fELF, as it were")
    return path


def names(tar):
    return {name.removeprefix("./") for name in tar.getnames()} - {"", "."}


def text(tar, name):
    return tar.extractfile(name).read().decode()


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
def test_a_deb_has_what_debian_expects(tmp_path, small_binary):
    deb = make("deb", "armhf", tmp_path, small_binary)
    assert deb.name == f"footbridge_{VERSION}_armhf.deb"

    def ask(*arguments):
        return subprocess.run(["dpkg-deb", *arguments], capture_output=True, check=True).stdout

    fields = dict(
        line.split(": ", 1)
        for line in ask("-f", deb).decode().splitlines()
        if not line.startswith(" ")
    )
    assert (fields["Version"], fields["Architecture"]) == (VERSION, "armhf")
    assert fields["Provides"] == "mqtt-broker" and "Conflicts" not in fields
    files = tarfile.open(fileobj=io.BytesIO(ask("--fsys-tarfile", deb)))
    assert {
        "usr/bin/footbridge",
        "lib/systemd/system/footbridge.service",
        "etc/footbridge/footbridge.conf",
        "etc/footbridge/conf.d",
        "usr/share/bash-completion/completions/footbridge",
        "usr/share/man/man1/footbridge.1.gz",
        "usr/share/man/man5/footbridge.conf.5.gz",
    } <= names(files)
    assert all((m.uname, m.gname) == ("root", "root") for m in files.getmembers())
    control = tarfile.open(fileobj=io.BytesIO(ask("--ctrl-tarfile", deb)))
    assert text(control, "./conffiles") == "/etc/footbridge/footbridge.conf\n"
    assert {"postinst", "prerm", "postrm", "md5sums"} <= names(control)


def test_an_ipk_without_tls_takes_the_place_of_the_other(tmp_path, small_binary):
    """Two packages with the same files: neither is installed over the other."""
    said = {}
    for name in ("footbridge", "footbridge-nossl"):
        made = subprocess.run(
            [ROOT / "packaging/openwrt/make", "x86_64", small_binary, tmp_path, name],
            capture_output=True,
            text=True,
            check=True,
        )
        package = Path(made.stdout.strip())
        assert package.name == f"{name}_{VERSION}-r1_x86_64.ipk"
        control = tarfile.open(package).extractfile("./control.tar.gz").read()
        said[name] = text(tarfile.open(fileobj=io.BytesIO(control)), "./control").splitlines()
    assert {"Package: footbridge", "Conflicts: footbridge-nossl"} <= set(said["footbridge"])
    assert {"Package: footbridge-nossl", "Conflicts: footbridge"} <= set(said["footbridge-nossl"])


def test_the_targets_are_listed():
    """Each target gives a package, and each package has one target."""
    done = subprocess.run(
        [ROOT / "packaging/build", "--list"], capture_output=True, text=True, check=True, timeout=30
    )
    made = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert len(made) == len(set(made))
    debs = {name.split("_")[2].removesuffix(".deb") for name in made if name.endswith(".deb")}
    assert debs == {"amd64", "arm64", "armhf", "armel", "riscv64"}
    ipks = {name.split("_", 2)[2].removesuffix(".ipk") for name in made if name.endswith(".ipk")}
    assert {"x86_64", "aarch64_cortex-a53", "mipsel_24kc", "mips_24kc"} < ipks
    budget = (ROOT / "packaging/budget").read_text().splitlines()
    kept = {line.split()[0].removesuffix("-nossl") for line in budget if not line.startswith("#")}
    targets = {line.split()[0] for line in done.stdout.splitlines() if not line.startswith(" ")}
    assert kept <= targets


def test_the_unit_needs_no_program_of_another_package():
    unit = (ROOT / "packaging/deb/footbridge.service").read_text()
    programs = re.findall(r"^Exec\w+=(\S+)", unit, re.M)
    # /bin/kill is of procps, which a small Debian has not; a shell is in every one.
    assert programs and set(programs) <= {"/usr/bin/footbridge", "/bin/sh"}


def test_an_ipk_has_what_opkg_expects(tmp_path, small_binary):
    ipk = make("openwrt", "mipsel_24kc", tmp_path, small_binary)
    assert ipk.name == f"footbridge_{VERSION}-r1_mipsel_24kc.ipk"
    with tarfile.open(ipk) as outer:
        assert outer.getnames() == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
        assert text(outer, "./debian-binary") == "2.0\n"
        data = tarfile.open(fileobj=outer.extractfile("./data.tar.gz"))
        control = tarfile.open(fileobj=outer.extractfile("./control.tar.gz"))
        assert {
            "usr/bin/footbridge",
            "etc/init.d/footbridge",
            "etc/config/footbridge",
            "etc/footbridge/footbridge.conf",
            "usr/lib/footbridge/uci.sh",
            "lib/upgrade/keep.d/footbridge",
        } <= names(data)
        assert data.getmember("./etc/init.d/footbridge").mode & 0o111
        assert all((m.uid, m.gid) == (0, 0) for m in data.getmembers())
        said = text(control, "./control")
        assert "Architecture: mipsel_24kc\n" in said
        assert "Require-User: footbridge:footbridge\n" in said
        for name in text(control, "./conffiles").split():
            assert name.removeprefix("/") in names(data)
        assert {"postinst", "prerm"} <= names(control)


def shell_of(uci):
    """The variables that tests/outside/openwrt_functions.sh reads, of a UCI file."""
    lines, order, section = [], [], None
    counts = {}
    for number, line in enumerate(uci.read_text().splitlines()):
        # UCI's own reading of quotes and of #, but for what is in the middle of a word: that ends
        # the value there, as with UCI.
        line = re.sub(r"^(\s*(?:list|option)\s+\S+\s+[^'\"\s#]*)#.*", r"\1", line)
        words = shlex.split(line, comments=True)
        if words[:1] == ["config"]:
            section = words[2] if len(words) > 2 else f"cfg{number:02}"
            order += [words[1], section]
        elif words[:1] == ["option"]:
            lines.append(f"UCI_{section}_{words[1]}={shlex.quote(words[2])}")
        elif words[:1] == ["list"]:
            n = counts[section, words[1]] = counts.get((section, words[1]), 0) + 1
            lines.append(f"UCI_{section}_{words[1]}_ITEM{n}={shlex.quote(words[2])}")
    lines += [f"UCI_{section}_{name}_LENGTH={n}" for (section, name), n in counts.items()]
    return "\n".join([f"SECTIONS={shlex.quote(''.join(word + ':' for word in order))}", *lines])


def ash(script):
    return subprocess.run(
        ["busybox", "ash", "-c", script], capture_output=True, text=True, timeout=30
    )


def convert(uci):
    return ash(
        f". {FUNCTIONS}\n{shell_of(uci)}\n. {FILES}/uci.sh\nfootbridge_look_at {uci}\nfootbridge_convert"
    )


def check(conf, tmp_path):
    """--test-config of a text, with its folders here."""
    conf = re.sub(r"(?m)^persistence_location .*", f"persistence_location {tmp_path}", conf)
    conf = re.sub(r"(?m)^(user|include_dir) .*\n", "", conf)
    file = tmp_path / "check.conf"
    file.write_text(conf)
    file.chmod(0o600)
    return subprocess.run(
        [FOOTBRIDGE, "-c", file, "--test-config"], capture_output=True, text=True, timeout=30
    )


@needs_busybox
def test_the_sections_of_mosquittos_package_are_converted(tmp_path):
    done = convert(UCI / "takeover")
    assert done.stdout == (UCI / "takeover.conf").read_text()
    assert "a listener without port is left out" in done.stderr
    assert "bridge no_topics has no `list topic` and is left out" in done.stderr
    assert "without quotes" not in done.stderr
    checked = check(done.stdout, tmp_path)
    assert checked.returncode == 0, checked.stderr


@needs_busybox
def test_what_uci_reads_otherwise_than_it_looks_is_warned_of():
    said = convert(UCI / "unquoted").stderr
    assert "line 10: # without quotes begins a comment" in said, said
    said = convert(UCI / "dash").stderr
    assert "line 4: a dash in a name" in said, said


@needs_busybox
@pytest.mark.parametrize("uci", ["footbridge.config", "takeover"])
def test_every_uci_file_gives_a_configuration(tmp_path, uci):
    path = FILES / uci if (FILES / uci).exists() else UCI / uci
    done = convert(path)
    assert done.returncode == 0 and "listener 1883\n" in done.stdout
    checked = check(done.stdout, tmp_path)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("conf", ["packaging/deb/footbridge.conf", "packaging/openwrt/footbridge.conf"])
def test_every_configuration_that_is_shipped_is_right(tmp_path, conf):
    checked = check((ROOT / conf).read_text(), tmp_path)
    assert checked.returncode == 0, checked.stderr


class Router:
    """The init script with its paths below a folder."""

    def __init__(self, folder, uci):
        self.folder, self.uci = folder, uci
        self.config = folder / "etc/config/footbridge"
        self.plain = folder / "etc/footbridge/footbridge.conf"
        self.generated = folder / "tmp/footbridge.generated.conf"
        for path in (self.config, self.plain, self.generated):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(uci, self.config)
        self.plain.write_text("listener 1883\nallow_anonymous true\n")

    def runs(self, *commands, broken=False):
        script = (FILES / "footbridge.init").read_text()
        places = {
            "/usr/bin/footbridge": FOOTBRIDGE,
            "/usr/lib/footbridge": FILES,
            "/etc/": f"{self.folder}/etc/",
            "/tmp/footbridge": f"{self.folder}/tmp/footbridge",
        }
        # In one go: the new paths may have the old ones in them.
        script = re.sub("|".join(places), lambda found: str(places[found[0]]), script)
        stubs = f"chown() {{ echo chown \"$@\"; }}\nUCI_IS_BROKEN={int(broken)}\n"
        return ash(
            "\n".join([f". {FUNCTIONS}", shell_of(self.uci), stubs, script, *commands])
        )


def uci(folder, text):
    path = folder / "uci"
    path.write_text(text)
    return path


@needs_busybox
def test_the_init_script_starts_the_plain_configuration(tmp_path):
    router = Router(tmp_path, FILES / "footbridge.config")
    done = router.runs("start_service", "service_triggers")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "open ",
        f"param command {FOOTBRIDGE} -c {router.plain}",
        f"param file {router.plain}",
        "param user footbridge",
        "param respawn 3600 5 0",
        "param term_timeout 10",
        "param stdout 1",
        "param stderr 1",
        "close",
        "trigger footbridge",
    ]
    assert not router.generated.exists()


@needs_busybox
def test_the_init_script_starts_what_uci_says_without_a_write_to_flash(tmp_path):
    store = tmp_path / "store"
    file = uci(
        tmp_path,
        "config owrt 'owrt'\n\toption use_uci '1'\n"
        f"config persistence p\n\toption location '{store}'\n"
        "config listener\n\toption port '1883'\n",
    )
    router = Router(tmp_path, file)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "etc").rglob("*")}
    done = router.runs("start_service")
    assert f"param command {FOOTBRIDGE} -c {router.generated}" in done.stdout
    # As root it becomes the user of the configuration.
    assert "param user" not in done.stdout and "user footbridge\n" in router.generated.read_text()
    assert f"chown footbridge {store}" in done.stdout
    assert f"chown footbridge {router.generated}" in done.stdout
    assert router.generated.stat().st_mode & 0o077 == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "etc").rglob("*")} == before
    first = router.generated.read_bytes()
    again = router.runs("start_service").stdout
    assert router.generated.read_bytes() == first, "procd would see a change"
    assert f"chown footbridge {store}" not in again, "a folder that is there stays whose it is"


@needs_busybox
def test_a_reload_with_a_mistake_leaves_the_broker_alone(tmp_path):
    router = Router(tmp_path, FILES / "footbridge.config")
    assert "param command" in router.runs("reload_service").stdout
    router.plain.write_text("listener 1883\nno_such_directive 1\n")
    done = router.runs("reload_service")
    assert "param command" not in done.stdout
    assert "the configuration stays as it was" in done.stderr
    assert "no_such_directive" in done.stderr


@needs_busybox
def test_a_reload_of_uci_with_a_mistake_leaves_what_was_made_of_it(tmp_path):
    listener = (
        "config owrt 'owrt'\n\toption use_uci '1'\n"
        f"config persistence p\n\toption location '{tmp_path}'\n"
        "config listener l\n\toption port '1883'\n"
    )
    router = Router(tmp_path, uci(tmp_path, listener))
    router.runs("start_service")
    good = router.generated.read_text()
    router.uci.write_text(f"{listener}\tlist directive 'no_such_directive 1'\n")
    done = router.runs("reload_service")
    assert "param command" not in done.stdout and "no_such_directive" in done.stderr
    assert router.generated.read_text() == good, "procd would start with the mistake"


@needs_busybox
def test_a_uci_file_that_cannot_be_read_starts_nothing(tmp_path):
    router = Router(tmp_path, UCI / "dash")
    done = router.runs("start_service", broken=True)
    assert done.stdout == ""
    assert "a dash in a name" in done.stderr and "has no section owrt" in done.stderr


@needs_busybox
@pytest.mark.parametrize("use_uci", [0, 1])
def test_mosquittos_configuration_is_taken_over(tmp_path, use_uci):
    store = tmp_path / "store"
    file = uci(
        tmp_path,
        f"config owrt 'owrt'\n\toption use_uci '{use_uci}'\n"
        f"config persistence p\n\toption location '{store}'\n"
        f"config mosquitto m\n\toption user '{getpass.getuser()}'\n"
        "config listener\n\toption port '1883'\n",
    )
    router = Router(tmp_path, file)
    (tmp_path / "etc/config/mosquitto").write_text(file.read_text())
    plain = tmp_path / "etc/mosquitto/mosquitto.conf"
    plain.parent.mkdir()
    plain.write_text("listener 1885\n")
    router.config.write_text("# mine\n")
    done = router.runs("take_over")
    assert router.config.read_text() == file.read_text()
    assert Path(f"{router.config}.old").read_text() == "# mine\n"
    used = router.generated if use_uci else router.plain
    assert f"{used} is what footbridge will use" in done.stdout
    assert (router.plain.read_text() == plain.read_text()) == (not use_uci)
    # What was there first stays, and a file without the section is not taken.
    router.runs("take_over")
    assert Path(f"{router.config}.old").read_text() == "# mine\n"
    (tmp_path / "etc/config/mosquitto").write_text("config listener\n")
    assert "has no section owrt" in router.runs("take_over").stderr
    assert router.config.read_text() == file.read_text()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    "line, some",
    [
        ("footbridge ", {"pub", "sub", "status", "bridge", "passwd", "demo"}),
        ("footbridge --", {"--config-file", "--port", "--test-config"}),
        ("footbridge pub --", {"--topic", "--repeat-delay", "--retain"}),
        ("footbridge bridge ", {"list", "start", "stop", "add", "remove"}),
        ("footbridge passwd --i", {"--iterations"}),
    ],
)
def test_bash_completes(line, some):
    words = line.split(" ")
    words[0] = FOOTBRIDGE
    script = (
        f". {ROOT}/packaging/deb/footbridge.bash-completion\n"
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}\n"
        '_footbridge\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=os.environ, timeout=30
    )
    found = set(done.stdout.split())
    assert some <= found, (found, done.stderr)
    assert all(word.startswith(words[-1]) for word in found)
