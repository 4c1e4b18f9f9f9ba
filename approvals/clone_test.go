package approvals_test

import (
	"reflect"
	"testing"
	"time"

	"assent/approvals"
)

// Every list of a copy ends where the original's ends, so that appending to it copies: a new member of Request that Clone
// forgets fails here.
func TestClone(t *testing.T) {
	r := &approvals.Request{}
	lists := fill(t, reflect.ValueOf(r).Elem())
	c := r.Clone()
	if !reflect.DeepEqual(r, c) {
		t.Fatalf("Clone:\n%+v, want\n%+v", c, r)
	}
	for _, i := range lists {
		if f := reflect.ValueOf(c).Elem().Field(i); f.Cap() != 1 {
			t.Errorf("%s of the copy has room for %d, where others may append", reflect.TypeOf(*r).Field(i).Name, f.Cap())
		}
	}
}

// fill gives every exported list one element and room for more, and returns which they are.
func fill(t *testing.T, v reflect.Value) (lists []int) {
	t.Helper()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 4))
			lists = append(lists, i)
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case reflect.Map:
			t.Errorf("%s is a map, which a copy would share", v.Type().Field(i).Name)
		}
	}
	return lists
}

// A change that waits to be written belongs to the original alone.
func TestCloneLeavesWhatWaits(t *testing.T) {
	r := &approvals.Request{State: approvals.Pending}
	r.Also(approvals.PutAny("kind", "key", nil, time.Time{}))
	r.Forget()
	r.Keep()
	if c := r.Clone(); len(c.TakeWrites()) != 0 || len(c.TakeEvents()) != 0 || c.Forgotten() || c.Kept() {
		t.Error("the copy took over what the original has to write")
	}
	if len(r.TakeWrites()) != 1 || !r.Forgotten() || !r.Kept() {
		t.Error("the original lost what it has to write")
	}
}
