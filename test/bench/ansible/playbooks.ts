/** What Ansible is given to do: the same changes as ours, each in the fewest tasks that check themselves, without gathering facts. */
import { stringify } from "yaml";

export const CONFIGURATION = `[defaults]
forks = 10
host_key_checking = False
gathering = explicit
remote_tmp = /run/ansible
interpreter_python = /usr/bin/python3
[ssh_connection]
pipelining = True
`;

export function inventory(addresses: readonly string[], keyFile: string): string {
  const hosts = addresses.map((address) => `${address} ansible_user=root ansible_ssh_private_key_file=${keyFile}`);
  return `[machines]\n${hosts.join("\n")}\n`;
}

/** One file, and only its keys loaded when it has changed. */
export function sysctlPlaybook(values: Readonly<Record<string, string>>): string {
  const path = "/etc/sysctl.d/80-bench.conf";
  const content = Object.entries(values)
    .map(([key, value]) => `${key} = ${value}\n`)
    .join("");
  return play([{ name: "values", copy: { dest: path, content }, notify: "load" }], [{ name: "load", command: `sysctl -p ${path}` }]);
}

/** containerd's file, a restart when it has changed, its answer, and images one after the other. */
export function containerdPlaybook(config: string, images: readonly string[]): string {
  return play([
    { name: "configuration", copy: { dest: "/etc/containerd/config.toml", content: config }, register: "written" },
    { name: "restart", command: "systemctl restart containerd", when: "written.changed" },
    { name: "answer", command: "ctr version", register: "answer", until: "answer.rc == 0", retries: 50, delay: 0 },
    { name: "images", command: "ctr --namespace k8s.io images pull --plain-http {{ item }}", loop: images },
  ]);
}

function play(tasks: readonly object[], handlers: readonly object[] = []): string {
  return stringify([{ hosts: "machines", gather_facts: false, tasks, ...(handlers.length === 0 ? {} : { handlers }) }]);
}
