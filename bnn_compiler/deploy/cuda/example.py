"""``example.c``: a program that runs the network on raw files."""

from bnn_compiler.deploy.cpu import example
from bnn_compiler.deploy.cpu.link import Toolchain
from bnn_compiler.plan.program import Program

#: What a program that holds a network is linked with.
LIBRARIES = ["-ldl", "-pthread"]

_RUN = """\
  {name}_network *network = NULL;
  {name}_session *session = NULL;
  const void *inputs[] = {{{inputs}}};
  void *outputs[] = {{{outputs}}};
  int failed = {name}_open(-1, &network) || {name}_start(network, &session) ||
               {name}_run_checked(session, inputs, outputs, {name}_stream(session));
  if (failed) fprintf(stderr, "%s\\n", {name}_error());
  {name}_end(session);
  {name}_close(network);
  if (failed) return 1;"""


def source(program: Program, name: str, tools: Toolchain) -> str:
    """``example.c``; its first line is the command that builds it beside the artifact's files."""
    inputs, outputs = example.variables(program)
    run = _RUN.format(name=name, inputs=", ".join(inputs), outputs=", ".join(outputs))
    command = example.build_command(name, tools, LIBRARIES)
    return example.render(program, name, command, "", run)
