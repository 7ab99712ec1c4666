"""A network's C interface: what each NAME.so and NAME.a offers, and what a kernel's object needs.

Python's side of it is runtime/library.py.
"""

from collections.abc import Sequence

#: What a network shows to the outside, each with NAME_ before it.
EXPORTS = ("run", "run_steps", "run_checked", "set_threads", "info")
#: What each further program of it shows, for another batch size, with NAME_batchN_ before it.
PROGRAM = ("run", "run_steps", "run_checked", "info")

#: C types of inputs and outputs, by dtype.
TYPES = {
    "float32": "float",
    "uint8": "uint8_t",
    "bool": "uint8_t",
    "int32": "int32_t",
    "int64": "int64_t",
}

#: Run steps first..last-1; seconds may be NULL, else seconds[i] grows by the time of step i.
RUN_STEPS = """\
int32_t {name}_run_steps(const void *const *inputs, void *const *outputs, void *workspace,
                         int32_t first, int32_t last, double *seconds)"""

#: The same, but -2 (runtime/library.py: HAS_NAN) at once if a float input holds a NaN.
RUN_CHECKED = """\
int32_t {name}_run_checked(const void *const *inputs, void *const *outputs, void *workspace,
                           int32_t first, int32_t last, double *seconds)"""

#: Use n threads (at least 1); returns the number in force.
SET_THREADS = "int32_t {name}_set_threads(int32_t n)"


def run(name: str, inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """The prototype of a run of every step on inputs and outputs of these dtypes."""
    ins = [f"const {TYPES[dtype]} *in{i}" for i, dtype in enumerate(inputs)]
    outs = [f"{TYPES[dtype]} *out{i}" for i, dtype in enumerate(outputs)]
    return f"int32_t {name}_run({', '.join([*ins, *outs])}, void *workspace)"


def kernel(symbol: str, count: int) -> str:
    """The prototype of a kernel of ``count`` pointers: iterations first..last-1."""
    return f"int32_t {symbol}({', '.join(['void *'] * count)}, int32_t first, int32_t last)"


def registration(attributes: str = "") -> str:
    """The function that the start-up record of a kernel's object refers to.

    Nothing needs registering: kernels are called by name.
    """
    return (
        f"{attributes}int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol) {{\n"
        "  (void)name;\n"
        "  (void)symbol;\n"
        "  return 0;\n"
        "}\n"
    )
