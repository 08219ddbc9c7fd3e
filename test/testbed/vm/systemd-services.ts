/** Services of a machine whose supervisor is systemd: real units, asked by systemctl and journalctl. */
import { dirname } from "node:path";
import type { Machine } from "../machine.ts";

type Runs = Pick<Machine, "name"> & {
  run(
    program: string,
    args: readonly string[],
    options?: { readonly timeoutMs?: number; readonly input?: string | Uint8Array },
  ): ReturnType<Machine["run"]>;
};

/** systemd's message for "Started UNIT" (sd-messages.h, SD_MESSAGE_UNIT_STARTED). */
const UNIT_STARTED = "39f53479d3a045ac8e11786248231fbf";

export class SystemdServices {
  readonly #machine: Runs;

  constructor(machine: Runs) {
    this.#machine = machine;
  }

  async add(name: string, script: string): Promise<void> {
    await writeDurably(this.#machine, `/etc/drover-bed/services/${name}`, script, 0o755);
    await this.addUnit(`${name}.service`, unit(name));
  }

  async addUnit(file: string, content: string): Promise<void> {
    await writeDurably(this.#machine, `/etc/systemd/system/${file}`, content, 0o644);
    // Enabling makes systemd read its units again. The link that does it survives a power cut too.
    await this.#must("sh", ["-c", 'systemctl enable "$1" && sync && systemctl restart "$1"', "sh", file]);
  }

  async pid(name: string): Promise<number | undefined> {
    const pid = Number(await this.#must("systemctl", ["show", "--property=MainPID", "--value", `${name}.service`]));
    return pid > 0 ? pid : undefined;
  }

  async starts(name: string): Promise<number> {
    const words = ["--boot", "--quiet", "--no-pager", "--output=cat", `MESSAGE_ID=${UNIT_STARTED}`, `UNIT=${name}.service`];
    const entries = await this.#must("journalctl", words);
    return entries === "" ? 0 : entries.split("\n").length;
  }

  async log(name: string): Promise<string> {
    return this.#must("journalctl", ["--quiet", "--no-pager", "--output=cat", `--unit=${name}.service`]);
  }

  async #must(program: string, args: readonly string[]): Promise<string> {
    const result = await this.#machine.run(program, args);
    if (result.exitCode !== 0)
      throw new Error(`${this.#machine.name}: ${program} ${args.join(" ")} ended with ${result.exitCode}: ${result.stderr}`);
    return result.stdout;
  }
}

function unit(name: string): string {
  return `[Unit]
Description=${name}, of the test
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh /etc/drover-bed/services/${name}
Restart=always
RestartSec=100ms

[Install]
WantedBy=multi-user.target
`;
}

/** Whole or not at all, also after a power cut. */
export async function writeDurably(machine: Runs, path: string, content: string | Uint8Array, mode: number): Promise<void> {
  const script = 'mkdir -p "$1" && cat > "$2" && chmod "$3" "$2" && sync "$2" && mv "$2" "$4" && sync "$1"';
  const half = `${dirname(path)}/.${path.slice(dirname(path).length + 1)}.new`;
  const result = await machine.run("sh", ["-c", script, "sh", dirname(path), half, mode.toString(8), path], { input: content });
  if (result.exitCode !== 0) throw new Error(`${machine.name}: ${result.stderr.trim()}`);
}
