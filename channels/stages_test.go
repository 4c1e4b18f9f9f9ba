package channels

import (
	"errors"
	"strings"
	"testing"
	"time"

	"assent/approvals"
)

func TestLadderValidate(t *testing.T) {
	good := Stage{Who: WhoSubject, Channel: "push", Wait: time.Minute, Repeat: 1}
	with := func(change func(*Stage)) Ladder {
		s := good
		change(&s)
		return Ladder{s}
	}
	tests := []struct {
		name   string
		ladder Ladder
		field  string // "" for valid
	}{
		{"default", DefaultLadder(), ""},
		{"two channels and the rest", Ladder{good, {WhoSubject, "sms", time.Minute, 2}, {WhoSubject, AnyChannel, time.Hour, 1}}, ""},
		{"empty", Ladder{}, "ladder"},
		{"too long", make(Ladder, 17), "ladder"},
		{"somebody else", with(func(s *Stage) { s.Who = "deputy" }), "ladder[0].who"},
		{"unknown channel", with(func(s *Stage) { s.Channel = "fax" }), "ladder[0].channel"},
		{"twice", Ladder{good, good}, "ladder[1].channel"},
		{"no wait", with(func(s *Stage) { s.Wait = 0 }), "ladder[0].wait"},
		{"long wait", with(func(s *Stage) { s.Wait = 25 * time.Hour }), "ladder[0].wait"},
		{"never", with(func(s *Stage) { s.Repeat = 0 }), "ladder[0].repeat"},
		{"too often", with(func(s *Stage) { s.Repeat = 11 }), "ladder[0].repeat"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.ladder.Validate("push", "sms")
			var field *approvals.FieldError
			switch {
			case tt.field == "" && err != nil:
				t.Errorf("Validate: %v", err)
			case tt.field != "" && (!errors.As(err, &field) || field.Field != tt.field):
				t.Errorf("Validate: %v, want a fault of %s", err, tt.field)
			}
		})
	}
}

// TestLadderOver: a named stage takes its channel out of "any", and within a stage the person's order counts.
func TestLadderOver(t *testing.T) {
	stage := func(channel string) Stage { return Stage{WhoSubject, channel, time.Minute, 1} }
	addresses := []approvals.Address{{Channel: "sms", Value: "1"}, {Channel: "push", Value: "2"}, {Channel: "sms", Value: "3"},
		{Channel: "web", Value: "4"}}
	tests := []struct {
		name   string
		ladder Ladder
		want   string
	}{
		{"the person's order", DefaultLadder(), "1 2 3 4"},
		{"by channel", Ladder{stage("push"), stage("sms")}, "2 1 3"},
		{"the rest at the end", Ladder{stage("push"), stage(AnyChannel)}, "2 1 3 4"},
		{"the rest first", Ladder{stage(AnyChannel), stage("sms")}, "2 4 1 3"},
		{"nobody", Ladder{stage("mail")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range tt.ladder.over(addresses) {
				got = append(got, p.to.Value)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("order is %q, want %q", s, tt.want)
			}
		})
	}
}
