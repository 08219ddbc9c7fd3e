/** Makes a bed with one virtual machine, says where, and waits to be killed. */
import { Bed } from "../bed.ts";

const bed = await Bed.make();
const machine = await bed.addVirtualMachine("held");
console.log(JSON.stringify({ directory: bed.directory, qemuPid: machine.pid }));
setInterval(() => {}, 1000);
