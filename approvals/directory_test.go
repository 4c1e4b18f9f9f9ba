package approvals_test

import (
	"errors"
	"testing"
	"time"

	"assent/approvals"
)

// What is written together with an agent is there with it, or neither is.
func TestAgentsWithRecords(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	token := func(key string) approvals.Write { return approvals.PutNew("token", key, []byte("x"), time.Time{}) }
	agent := &approvals.Agent{ID: "new", Name: "New Bot"}
	if err := o.dir.SaveAgent(ctx, agent, token("a")); err != nil {
		t.Fatal(err)
	}
	saved, err := o.dir.Agent(ctx, "new")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.dir.SaveAgent(ctx, saved, token("a")); !errors.Is(err, approvals.ErrConflict) {
		t.Errorf("save with a record that is taken: %v", err)
	}
	if err := o.dir.RemoveAgent(ctx, agent, token("b")); !errors.Is(err, approvals.ErrConflict) {
		t.Errorf("remove another revision: %v", err)
	}
	if _, err := o.store.Get(ctx, "token", "b"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("a refused removal left a record: %v", err)
	}
	if err := o.dir.RemoveAgent(ctx, saved, approvals.Delete("token", "a", approvals.AnyRevision)); err != nil {
		t.Fatal(err)
	}
	if _, err := o.dir.Agent(ctx, "new"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("agent after removal: %v", err)
	}
	if _, err := o.store.Get(ctx, "token", "a"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("record after removal: %v", err)
	}
}
