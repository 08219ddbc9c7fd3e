/** The one table role x RPC. An RPC without a row does not compile. */
import type { OperatorService } from "@drover/proto";
import type { Role } from "../records.ts";

export type OperatorMethod = keyof typeof OperatorService;

const EVERYBODY: readonly Role[] = ["viewer", "operator", "approver", "admin"];
const OPERATORS: readonly Role[] = ["operator", "admin"];

export const methodRoles: Readonly<Record<OperatorMethod, readonly Role[]>> = {
  whoAmI: EVERYBODY,
  getCoordinatorStatus: EVERYBODY,
  getObject: EVERYBODY,
  listObjects: EVERYBODY,
  watchObjects: EVERYBODY,
  watchProgress: EVERYBODY,
  listAudit: EVERYBODY,
  // What commands printed on a machine can hold more than its state tells.
  fetchLogs: ["operator", "approver", "admin"],
  dryRunOnNodes: ["operator", "approver", "admin"],
  applyObject: OPERATORS,
  deleteObject: OPERATORS,
  createJoinToken: OPERATORS,
  rejoinNode: OPERATORS,
  planRollout: EVERYBODY,
  controlRollout: OPERATORS,
  approveRollout: ["approver", "admin"],
  maintainNode: OPERATORS,
  createRepairs: OPERATORS,
  cancelRepair: OPERATORS,
  fetchEvidence: ["operator", "approver", "admin"],
  // Cannot be taken back: the machine has to be enrolled again.
  revokeNode: ["admin"],
  // Hands over what may do everything in a cluster.
  adoptCluster: ["admin"],
};

/** @param method as in OperatorService: whoAmI, applyObject, ...; one that is not there is nobody's */
export function mayCall(role: Role, method: string): boolean {
  return Object.hasOwn(methodRoles, method) && methodRoles[method as OperatorMethod].includes(role);
}
