/** Ansible in the bed of a site: its key, its inventory, and what a playbook costs. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LightMachine } from "../../testbed/light/light-machine.ts";
import { eventually } from "../../testbed/program.ts";
import type { Site } from "../../testbed/site.ts";
import { CONFIGURATION, inventory } from "./playbooks.ts";

export interface Cost {
  readonly wallMs: number;
  /** Of the program and all its children that it waited for. */
  readonly cpuMs: number;
  /** Of the operator's own program, where it is another one than what controls. */
  readonly clientCpuMs?: number;
}

export class AnsiblePeer {
  readonly #site: Site;
  readonly #keyFile: string;

  private constructor(site: Site) {
    this.#site = site;
    this.#keyFile = join(site.bed.directory, "ansible-key");
  }

  static async make(site: Site): Promise<AnsiblePeer> {
    const peer = new AnsiblePeer(site);
    await peer.#must("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", peer.#keyFile]);
    return peer;
  }

  /** Starts an SSH server on a machine that lets our key in. */
  async admit(machine: LightMachine): Promise<void> {
    const key = (await this.#must("cat", [`${this.#keyFile}.pub`])).trim();
    await machine.writeFile("/etc/drover-bed/authorized_keys", `${key}\n`, 0o600);
    await machine.writeFile(
      "/etc/drover-bed/sshd_config",
      "HostKey /etc/drover-bed/host_key\nAuthorizedKeysFile /etc/drover-bed/authorized_keys\nPermitRootLogin yes\nUsePAM no\nStrictModes no\nPidFile none\nMaxStartups 100\n",
    );
    const made = await machine.run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", "/etc/drover-bed/host_key"]);
    if (made.exitCode !== 0) throw new Error(`${machine.name}: ${made.stderr}`);
    await machine.addService("sshd", "mkdir -p /run/sshd\nexec /usr/sbin/sshd -D -e -f /etc/drover-bed/sshd_config\n");
  }

  /** Waits until all machines let us in, so that no playbook waits for that. */
  async begin(machines: readonly LightMachine[]): Promise<void> {
    const { directory } = this.#site.bed;
    await writeFile(join(directory, "ansible.cfg"), CONFIGURATION);
    await writeFile(
      join(directory, "inventory"),
      inventory(
        machines.map(({ address }) => address),
        this.#keyFile,
      ),
    );
    await eventually("all machines answer over SSH", 60_000, async () => {
      const result = await this.#site.bed.run("ansible", ["-i", join(directory, "inventory"), "machines", "-m", "raw", "-a", "true"], {
        env: { ANSIBLE_CONFIG: join(directory, "ansible.cfg") },
      });
      return result.exitCode === 0;
    });
  }

  async play(name: string, playbook: string): Promise<Cost> {
    const { directory } = this.#site.bed;
    const path = join(directory, `${name}.playbook.yaml`);
    await writeFile(path, playbook);
    return timed(this.#site, [
      "env",
      `ANSIBLE_CONFIG=${join(directory, "ansible.cfg")}`,
      "ansible-playbook",
      "-i",
      join(directory, "inventory"),
      path,
    ]);
  }

  async #must(program: string, args: readonly string[]): Promise<string> {
    const result = await this.#site.bed.run(program, args);
    if (result.exitCode !== 0) throw new Error(`${program} ended with ${result.exitCode}: ${result.stderr}`);
    return result.stdout;
  }
}

/** Runs a program in the bed and tells what it cost, by the shell's own clock. @throws when it fails */
export async function timed(site: Site, argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Cost> {
  const script = 'TIMEFORMAT="cost %3R %3U %3S"; time "$@"';
  const result = await site.bed.run("/bin/bash", ["-c", script, "bash", ...argv], { env, timeoutMs: 600_000 });
  const [, real, user, system] = /^cost ([\d.]+) ([\d.]+) ([\d.]+)$/m.exec(result.stderr) ?? [];
  if (result.exitCode !== 0 || real === undefined) {
    throw new Error(`${argv.join(" ")} ended with ${result.exitCode}: ${result.stdout.slice(-2000)}${result.stderr.slice(-2000)}`);
  }
  return { wallMs: 1000 * Number(real), cpuMs: 1000 * (Number(user) + Number(system)) };
}
