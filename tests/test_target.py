import pytest

from bnn_compiler import target
from bnn_compiler.errors import TargetError
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.runtime import cpu


@pytest.mark.parametrize("name", target.names())
def test_every_target_loads_into_tvm(name):
    from tvm.target import Target

    one = target.load(name)
    assert Target(one.tvm).kind.name == one.hardware.kind


def test_gpus_have_their_own_facts():
    gpus = [target.load(n) for n in target.names("cuda")]
    assert {t.gpu.sm for t in gpus} == {75, 80, 86, 89, 90, 100, 120}
    for gpu in gpus:
        form = "xor" if gpu.gpu.sm < 80 else "and" if gpu.gpu.sm < 100 else "int8"
        assert (gpu.arch, gpu.gpu.binary, gpu.name) == ("cuda", form, f"cuda-sm{gpu.gpu.sm}")
        with pytest.raises(TargetError, match=f"{gpu.name} is a GPU"):
            _ = gpu.cpu
    with pytest.raises(TargetError, match="aarch64 is a CPU"):
        _ = target.load("aarch64").gpu
    assert set(target.names()) == {*target.names("llvm"), *target.names("cuda")}


def test_native_has_tiles_where_the_system_offers_them(monkeypatch):
    amx, without = target.load("x86-amx"), target.load("x86-avx512-vpopcnt")
    assert set(amx.features) == {*without.features, "amx_tile", "amx_int8"}
    assert amx.cpu.tiles and not without.cpu.tiles
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    flags = {"flags": " ".join(amx.features)}
    monkeypatch.setattr(cpu, "_fields", lambda: flags)
    for offered, wanted in ((True, "x86-amx"), (False, "x86-avx512-vpopcnt")):
        cpu.features.cache_clear()
        monkeypatch.setattr(cpu, "_offers_tiles", lambda offered=offered: offered)
        assert target.load("native").name == wanted
    cpu.features.cache_clear()


def test_native_is_never_a_gpu(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("bnn_compiler.runtime.cpu.features", lambda: frozenset())
    with pytest.raises(TargetError, match="no shipped target fits"):
        target.native()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("sm = 90", "sm = 70", "75 or more"),
        ("sm = 90", 'sm = "90"', "a positive integer"),
        ("sm = 90", "sm = 80", r"\[target\] = .*'sm_80'"),
        ('binary = "and"', 'binary = "xor"', r"one of \('and', 'int8'\)"),
        ("sms = 132", "sms = 0", "a positive integer"),
        ("sms = 132", "", r"\['sms'\]"),
        ('arch = "cuda"', 'arch = "cuda"\nfeatures = []', "features"),
    ],
)
def test_values_of_a_gpus_file_are_checked(old, new, named, tmp_path):
    text = (target.DATA / "targets" / "cuda-sm90.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(TargetError, match=named):
        target.load(tmp_path / "mine.toml")


def test_unknown_name_and_bad_files(tmp_path):
    with pytest.raises(TargetError, match="x86-64-v3"):
        target.load("pdp11")
    with pytest.raises(TargetError, match="no target file"):
        target.load(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("= 1")
    with pytest.raises(TargetError, match="not valid TOML"):
        target.load(tmp_path / "broken.toml")
    (tmp_path / "odd.toml").write_text('arch = "x86_64"\ncolour = "red"\n')
    with pytest.raises(TargetError, match="colour"):
        target.load(tmp_path / "odd.toml")


def test_a_users_file_works(tmp_path):
    text = (target.DATA / "targets" / "x86-64-v3.toml").read_text()
    (tmp_path / "mine.toml").write_text(text)
    assert target.load(tmp_path / "mine.toml").name == "mine"


@pytest.mark.parametrize("name", ["cortex-a7", "armv7", "armhf", "cortex-a9"])
def test_32_bit_arm_is_refused_with_the_way_out(name, tmp_path, monkeypatch):
    with pytest.raises(TargetError, match=r"32-bit ARM is not supported.*--target aarch64"):
        target.load(name)
    text = (target.DATA / "targets" / "aarch64.toml").read_text()
    path = tmp_path / f"{name}.toml"
    path.write_text(text.replace('arch = "aarch64"', 'arch = "armv7l"'))
    with pytest.raises(TargetError, match="'armv7l': 32-bit ARM is not supported"):
        target.load(path)
    path.write_text(text.replace('arch = "aarch64"', 'arch = "riscv64"'))
    with pytest.raises(TargetError, match="there are aarch64 and x86_64"):
        target.load(path)
    monkeypatch.setattr("platform.machine", lambda: "armv7l")
    with pytest.raises(TargetError, match="32-bit ARM"):
        target.load("native")


def test_link_and_threads_of_a_users_file(tmp_path):
    text = (target.DATA / "targets" / "aarch64.toml").read_text().partition("[link]")[0]
    path = tmp_path / "board.toml"
    path.write_text(f'threads = false\n{text}[link]\ncompiler = ["ccache", "arm-gcc"]\n')
    board = target.load(path)
    assert board.link.compiler == ("ccache", "arm-gcc") and not board.threads


@pytest.mark.parametrize(
    ("name", "flag", "message"),
    [
        ("x86-amx", '"amx_int8"', "tiles = true; add 'amx_tile' and 'amx_int8' to features"),
        ("x86-avx512-vpopcnt", '"avx512_vnni"', "dot = true; add 'avx512_vnni' or 'avx_vnni'"),
        ("cortex-a76", '"asimddp"', "dot = true; add 'asimddp' to features, or leave it out"),
    ],
)
def test_instructions_that_the_flags_do_not_name(name, flag, message, tmp_path):
    text = (target.DATA / "targets" / f"{name}.toml").read_text()
    assert flag in text
    (tmp_path / "mine.toml").write_text(text.replace(f", {flag}", "", 1))
    with pytest.raises(TargetError, match=message):
        target.load(tmp_path / "mine.toml")


def test_half_of_l2_is_for_the_next_kernel_where_that_was_measured():
    for board in map(target.load, target.names("llvm")):
        wanted = board.cpu.l2_kib // 2 if board.arch == "x86_64" else 0
        assert board.prefetch_kib == wanted, board.name


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('features = ["asimd"]', 'features = "asimd"', "features"),
        ("vector_bits = 128", "vector_bits = 512", r"vector_bits = 512; give one of \(128,\)"),
        ("l2_kib = 256", 'l2_kib = "x"', "l2_kib"),
        ("l2_kib = 256", "l2_kib = 0", "a positive integer"),
        ('popcount = "cnt"', 'popcount = "neon"', "popcount = 'neon'"),
        ("l2_kib = 256", 'l2_kib = 256\ntiles = "yes"', "true or false"),
        ("l2_kib = 256", "l2_kib = 256\ntiles = true", "no such thing on aarch64"),
        (
            'arch = "aarch64"',
            'arch = "aarch64"\nschedules = "pdp11"',
            "the name of a shipped target",
        ),
        ("[link]", "[link]\ncompiler = [1]", "compiler"),
        ("[link]", '[link]\ncompiler = "arm-gcc"', "a command as a list"),
        ('zig = "aarch64-linux-gnu.2.17"', "zig = 5", "zig's triple"),
        ('zig = "aarch64-linux-gnu.2.17"', 'zig = "foo"', "zig's triple"),
        ('arch = "aarch64"', 'arch = "aarch64"\nthreads = "no"', "true or false"),
        ('arch = "aarch64"', 'arch = "aarch64"\ncpu_part = 3', "cpu_part"),
        ('arch = "aarch64"', 'arch = "aarch64"\nprefetch_kib = 0', "prefetch_kib"),
        ('arch = "aarch64"', 'arch = "aarch64"\nprefetch_kib = 1.5', "prefetch_kib"),
    ],
)
def test_values_of_a_file_are_checked(old, new, named, tmp_path):
    text = (target.DATA / "targets" / "aarch64.toml").read_text()
    assert old in text
    (tmp_path / "board.toml").write_text(text.replace(old, new))
    with pytest.raises(TargetError, match=named):
        target.load(tmp_path / "board.toml")


def test_a_cpu_that_llvm_does_not_know_is_refused(tmp_path):
    text = (target.DATA / "targets" / "aarch64.toml").read_text()
    (tmp_path / "board.toml").write_text(text.replace("cortex-a53", "cortex-a1000"))
    with pytest.raises(TargetError, match="no mcpu 'cortex-a1000'"):
        codegen.check(target.load(tmp_path / "board.toml"))


@pytest.mark.parametrize(
    ("part", "features", "wanted"),
    [
        ("0xd08", {"asimd"}, "cortex-a72"),
        ("0xd0c", {"asimd", "asimddp"}, "neoverse-n1"),
        ("0xd41", {"asimd", "asimddp"}, "cortex-a76"),  # an A78, which has no target of its own
        ("0xd07", {"asimd"}, "aarch64"),
    ],
)
def test_native_on_arm(part, features, wanted, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("bnn_compiler.runtime.cpu.part", lambda: part)
    monkeypatch.setattr("bnn_compiler.runtime.cpu.features", lambda: frozenset(features))
    assert target.load("native").name == wanted
