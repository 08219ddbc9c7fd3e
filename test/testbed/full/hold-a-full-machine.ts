/** Makes a bed with one full machine and a service in it, says where, and waits to be killed. */
import { Bed } from "../bed.ts";
import { eventually } from "../program.ts";

const bed = await Bed.make();
const machine = await bed.addFullMachine("held");
await machine.addService("sleeper", "exec sleep 1000\n");
const sleeperPid = await eventually("the service runs", 10_000, () => machine.servicePid("sleeper"));
console.log(JSON.stringify({ directory: bed.directory, sleeperPid }));
setInterval(() => {}, 1000);
