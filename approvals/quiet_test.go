package approvals

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuietHours(t *testing.T) {
	night, lunch := QuietHours{"22:00", "07:00"}, QuietHours{"12:00", "13:30"}
	tests := []struct {
		name string
		q    QuietHours
		at   string
		zone string
		want string // "" for not quiet
	}{
		{"never", QuietHours{}, "2026-11-22T03:00:00Z", "UTC", ""},
		{"before the night", night, "2026-11-22T21:59:59Z", "UTC", ""},
		{"as it begins", night, "2026-11-22T22:00:00Z", "UTC", "2026-11-23T07:00:00Z"},
		{"after midnight", night, "2026-11-23T03:00:00Z", "UTC", "2026-11-23T07:00:00Z"},
		{"as it ends", night, "2026-11-23T07:00:00Z", "UTC", ""},
		{"by day", lunch, "2026-11-22T12:30:00Z", "UTC", "2026-11-22T13:30:00Z"},
		{"by day, before", lunch, "2026-11-22T11:59:00Z", "UTC", ""},
		{"by day, after", lunch, "2026-11-22T13:30:00Z", "UTC", ""},
		{"on the person's clock", night, "2026-11-22T14:00:00Z", "Asia/Seoul", "2026-11-22T22:00:00Z"},
		{"the last night of the year", night, "2026-12-31T23:00:00Z", "UTC", "2027-01-01T07:00:00Z"},
		{"a night with one hour less", night, "2026-03-29T00:30:00Z", "Europe/Berlin", "2026-03-29T05:00:00Z"},
		{"a night with one hour more", night, "2026-10-25T00:30:00Z", "Europe/Berlin", "2026-10-25T06:00:00Z"},
		{"an end that the clock leaves out", QuietHours{"22:00", "02:30"}, "2026-03-29T00:30:00Z", "Europe/Berlin",
			"2026-03-29T01:30:00Z"},
		{"an end that the clock shows twice", QuietHours{"22:00", "02:30"}, "2026-10-25T01:10:00Z", "Europe/Berlin",
			"2026-10-25T01:30:00Z"},
		{"unknown zone", night, "2026-11-22T23:00:00Z", "Mars/Olympus", "2026-11-23T07:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, tt.at)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if end := tt.q.Until(at, tt.zone); !end.IsZero() {
				got = end.UTC().Format(time.RFC3339)
			}
			if got != tt.want {
				t.Errorf("Until is %q, want %q", got, tt.want)
			}
		})
	}
}

// TestQuietHoursEnd: whatever the hours, the zone and the moment, waiting until the end is enough and never a whole day.
func TestQuietHoursEnd(t *testing.T) {
	clockTime := rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprintf("%02d:%02d", rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute"))
	})
	zones := rapid.SampledFrom([]string{"UTC", "Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
		"Asia/Kathmandu"})
	rapid.Check(t, func(t *rapid.T) {
		q := QuietHours{clockTime.Draw(t, "from"), clockTime.Draw(t, "to")}
		zone := zones.Draw(t, "zone")
		at := time.Unix(rapid.Int64Range(1_767_225_600, 1_830_297_600).Draw(t, "at"), 0)
		end := q.Until(at, zone)
		if end.IsZero() {
			return
		}
		if !end.After(at) || end.Sub(at) > 26*time.Hour {
			t.Fatalf("%v in %s: quiet at %s until %s", q, zone, at, end)
		}
	})
}

func TestPreferences(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Person)
		want   error
	}{
		{"none", func(*Person) {}, nil},
		{"a night", func(p *Person) { p.Quiet = QuietHours{"22:00", "07:00"} }, nil},
		{"no time of the day", func(p *Person) { p.Quiet = QuietHours{"22:00", "24:00"} }, ErrInvalid},
		{"one end only", func(p *Person) { p.Quiet = QuietHours{From: "22:00"} }, ErrInvalid},
		{"the whole day", func(p *Person) { p.Quiet = QuietHours{"07:00", "07:00"} }, ErrInvalid},
		{"short form", func(p *Person) { p.Quiet = QuietHours{"7:00", "08:00"} }, ErrInvalid},
		{"muted", func(p *Person) { p.Muted = []string{"sms"} }, nil},
		{"muted twice", func(p *Person) { p.Muted = []string{"sms", "sms"} }, ErrInvalid},
		{"muted nothing", func(p *Person) { p.Muted = []string{""} }, ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &Person{ID: "ann", Name: "Ann"}
			tt.change(p)
			if err := p.Validate(); !errors.Is(err, tt.want) {
				t.Errorf("Validate: %v, want %v", err, tt.want)
			}
		})
	}
}
