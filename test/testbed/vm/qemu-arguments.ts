/** How qemu is told what a virtual machine is made of. */
import type { DiskImage } from "./disk-image.ts";

export interface Hardware {
  readonly memoryMib: number;
  readonly cpus: number;
  readonly systemUuid: string;
  readonly macAddress: string;
  readonly tap: string;
  /** In the order in which the guest sees them: root disk (qcow2), swap (raw), files (a tar archive). */
  readonly disk: string;
  readonly swap: string;
  readonly files: string;
  readonly shellSocket: string;
  readonly consoleLog: string;
}

/**
 * cache=writeback: the guest sees a disk with a write cache. What it flushed (fsync) is in the host's file with qcow2's tables, and
 * outlives a kill of qemu; of what it did not flush, writes to blocks that the overlay had not yet are lost with qemu's own cache of those tables.
 * cache=unsafe would lose the flushed ones too, cache=writethrough none at all.
 */
export function qemuArguments(image: DiskImage, hardware: Hardware): string[] {
  const { memoryMib, cpus, systemUuid, macAddress, tap, disk, swap, files, shellSocket, consoleLog } = hardware;
  return [
    // KVM does not work in every place where the tests run, even where its device is there; emulation does.
    ["-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", String(memoryMib), "-smp", String(cpus), "-uuid", systemUuid],
    ["-nodefaults", "-no-user-config", "-display", "none", "-kernel", image.kernel, "-initrd", image.initramfs],
    // Unwatched, the time stamp counter stays the clock on a busy computer too; each look at any other leaves the emulated code.
    ["-append", "console=ttyS0 root=/dev/vda rw quiet loglevel=4 net.ifnames=0 panic=-1 tsc=reliable systemd.show_status=1"],
    ["-chardev", `file,id=console,path=${consoleLog},append=on`, "-serial", "chardev:console"],
    ["-drive", `file=${disk},format=qcow2,if=none,id=root,cache=writeback,discard=unmap`, "-device", "virtio-blk-pci,drive=root"],
    ["-drive", `file=${swap},format=raw,if=none,id=swap,cache=writeback`, "-device", "virtio-blk-pci,drive=swap"],
    ["-drive", `file=${files},format=raw,if=none,id=files,readonly=on`, "-device", "virtio-blk-pci,drive=files"],
    ["-netdev", `tap,id=bridge,ifname=${tap},script=no,downscript=no`],
    ["-device", `virtio-net-pci,netdev=bridge,mac=${macAddress},romfile=`],
    ["-chardev", `socket,id=shell,path=${shellSocket},server=on,wait=off`, "-device", "virtio-serial-pci"],
    ["-device", "virtserialport,chardev=shell,name=drover.bed", "-device", "virtio-rng-pci"],
  ].flat();
}
