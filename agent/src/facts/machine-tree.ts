/** What facts are read from. */
import { readdir, readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";

export interface MachineTree {
  read(path: string): Promise<string>;
  /** Sorted. */
  list(path: string): Promise<readonly string[]>;
  /** Interface name to its addresses, link-local ones left out. */
  addresses(): Promise<ReadonlyMap<string, readonly string[]>>;
  /** Where /proc/cpuinfo names none; empty: unknown. */
  cpuModel(): Promise<string>;
  /** Where there is no DMI; empty: unknown. */
  board(): Promise<{ readonly vendor: string; readonly product: string }>;
}

export const systemTree: MachineTree = {
  read: (path) => readFile(path, "utf8"),
  list: async (path) => (await readdir(path)).sort(),
  async addresses() {
    const entries = Object.entries(networkInterfaces()).map(([name, found = []]) => {
      return [name, found.map(({ address }) => address).filter((address) => !/^(fe80:|169\.254\.)/.test(address))] as const;
    });
    return new Map(entries);
  },
  async cpuModel() {
    const { default: systeminformation } = await import("systeminformation");
    return (await systeminformation.cpu()).brand;
  },
  async board() {
    const { default: systeminformation } = await import("systeminformation");
    const { manufacturer, model } = await systeminformation.system();
    return { vendor: manufacturer, product: model };
  },
};
