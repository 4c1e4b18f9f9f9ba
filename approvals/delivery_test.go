package approvals

import (
	"slices"
	"testing"
)

// TestRecordRises: providers report twice and in any order, and a request keeps what is new.
func TestRecordRises(t *testing.T) {
	tests := []struct {
		name    string
		reports []Status
		want    []Status
	}{
		{"in order", []Status{StatusAccepted, StatusSent, StatusDelivered}, []Status{StatusAccepted, StatusSent, StatusDelivered}},
		{"repeated", []Status{StatusAccepted, StatusDelivered, StatusDelivered}, []Status{StatusAccepted, StatusDelivered}},
		{"overtaken", []Status{StatusDelivered, StatusSent, StatusAccepted}, []Status{StatusDelivered}},
		{"delivered has not failed", []Status{StatusDelivered, StatusFailed}, []Status{StatusDelivered}},
		{"failed may be delivered after all", []Status{StatusFailed, StatusDelivered}, []Status{StatusFailed, StatusDelivered}},
		{"unknown may be accepted", []Status{StatusUnknown, StatusAccepted}, []Status{StatusUnknown, StatusAccepted}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Request{ID: "r", State: Pending}
			for _, s := range tt.reports {
				if err := r.Record(Delivery{Channel: "sms", Attempt: 1, Status: s}); err != nil {
					t.Fatal(err)
				}
			}
			var got []Status
			for _, d := range r.Deliveries {
				got = append(got, d.Status)
			}
			if !slices.Equal(got, tt.want) || len(r.TakeEvents()) != len(tt.want) {
				t.Errorf("kept %v, want %v, each with one event", got, tt.want)
			}
		})
	}
}

// TestRecordApart: attempts and channels do not hide each other, and a message may be held for one reason after another.
func TestRecordApart(t *testing.T) {
	r := &Request{ID: "r", State: Pending}
	for _, d := range []Delivery{
		{Channel: "sms", Attempt: 1, Status: StatusDelivered},
		{Channel: "sms", Attempt: 2, Status: StatusAccepted},
		{Channel: "push", Attempt: 1, Status: StatusHeld, Why: "quiet hours"},
		{Channel: "push", Attempt: 1, Status: StatusHeld, Why: "quiet hours"},
		{Channel: "push", Attempt: 1, Status: StatusHeld, Why: "too many messages"},
		{Channel: "push", Attempt: 1, Status: StatusAccepted},
		{Channel: "push", Attempt: 1, Status: StatusHeld, Why: "quiet hours"},
	} {
		if err := r.Record(d); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Deliveries) != 5 {
		t.Errorf("kept %d reports, want 5: %v", len(r.Deliveries), r.Deliveries)
	}
}
