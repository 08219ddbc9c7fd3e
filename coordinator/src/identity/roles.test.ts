import { OperatorService } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { mayCall, methodRoles } from "./roles.ts";

describe("the role table", () => {
  it("has a row for every RPC of Operator and for nothing else", () => {
    expect(Object.keys(methodRoles).toSorted()).toEqual(Object.keys(OperatorService).toSorted());
  });

  it("lets an admin call everything, everybody ask who they are, and nobody what is not there", () => {
    for (const method of Object.keys(OperatorService)) expect(mayCall("admin", method)).toBe(true);
    expect(mayCall("viewer", "whoAmI")).toBe(true);
    for (const method of ["", "toString", "constructor", "WhoAmI"]) expect(mayCall("admin", method)).toBe(false);
  });

  it("lets only operators and admins change anything, and only admins revoke", () => {
    for (const method of ["applyObject", "deleteObject", "createJoinToken"]) {
      expect((["viewer", "operator", "approver", "admin"] as const).map((role) => mayCall(role, method))).toEqual([
        false,
        true,
        false,
        true,
      ]);
    }
    expect((["viewer", "operator", "approver"] as const).some((role) => mayCall(role, "revokeNode"))).toBe(false);
  });
});
