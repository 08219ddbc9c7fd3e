/** The texts that facts come from. Pure. */

export function parseOsRelease(text: string): { readonly id: string; readonly version: string } {
  const value = (key: string): string => new RegExp(`^${key}=["']?(.*?)["']?$`, "m").exec(text)?.[1] ?? "";
  return { id: value("ID"), version: value("VERSION_ID") };
}

export function parseCpuinfo(text: string): { readonly count: number; readonly model: string; readonly hasHypervisorFlag: boolean } {
  const model = /^(?:model name|Model|cpu model)\s*:\s*(.+)$/m.exec(text)?.[1]?.trim() ?? "";
  return { count: text.match(/^processor\s*:/gm)?.length ?? 0, model, hasHypervisorFlag: /^flags\s*:.*\bhypervisor\b/m.test(text) };
}

/** Bytes of memory; 0: not said. */
export function parseMeminfo(text: string): number {
  return Number(/^MemTotal:\s*(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
}

/** The first version in what a program printed, without a leading v. */
export function versionIn(text: string): string | undefined {
  return /(?:^|[\s(])v?(\d+(?:\.\d+)*(?:[-+~][0-9A-Za-z.~+-]+)?)(?=[\s),]|$)/m.exec(text)?.[1];
}

const VIRTUAL =
  /qemu|kvm|bochs|vmware|virtualbox|innotek|xen|microsoft corporation virtual|virtual machine|google|amazon ec2|openstack|digitalocean|parallels|bhyve|firecracker/i;

/** "container", "vm" or "pm". */
export function machineKind(parts: {
  readonly vendor: string;
  readonly product: string;
  readonly hasHypervisorFlag: boolean;
  /** Environment of pid 1, a line each. */
  readonly init: string;
}): string {
  if (/^container=./m.test(parts.init)) return "container";
  return parts.hasHypervisorFlag || VIRTUAL.test(`${parts.vendor} ${parts.product}`) ? "vm" : "pm";
}
