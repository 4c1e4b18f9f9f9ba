package approvals_test

import (
	"reflect"
	"testing"
	"time"

	"assent/approvals"
)

// Every list and pointer of a copy is its own: a new member of Request that Clone forgets fails here.
func TestClone(t *testing.T) {
	r := &approvals.Request{}
	fill(t, reflect.ValueOf(r).Elem())
	c := r.Clone()
	if !reflect.DeepEqual(r, c) {
		t.Fatalf("Clone:\n%+v, want\n%+v", c, r)
	}
	was, is := reflect.ValueOf(r).Elem(), reflect.ValueOf(c).Elem()
	for i := range was.NumField() {
		name, f := was.Type().Field(i).Name, was.Field(i)
		if k := f.Kind(); k != reflect.Slice && k != reflect.Pointer && k != reflect.Map || f.IsNil() {
			continue
		}
		if f.Pointer() == is.Field(i).Pointer() {
			t.Errorf("%s is shared with the copy", name)
		}
	}
}

// fill gives every exported list, pointer and map one element.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case reflect.Map:
			f.Set(reflect.MakeMap(f.Type()))
		}
	}
}

// A change that waits to be written belongs to the original alone.
func TestCloneLeavesWhatWaits(t *testing.T) {
	r := &approvals.Request{State: approvals.Pending}
	r.Also(approvals.PutAny("kind", "key", nil, time.Time{}))
	r.Forget()
	if c := r.Clone(); len(c.TakeWrites()) != 0 || len(c.TakeEvents()) != 0 || c.Forgotten() {
		t.Error("the copy took over what the original has to write")
	}
	if len(r.TakeWrites()) != 1 || !r.Forgotten() {
		t.Error("the original lost what it has to write")
	}
}
