package fcmsim

import (
	"strconv"
	"strings"
)

// Message is a message as the API takes it, as far as we use it; other members are refused.
type Message struct {
	Token        string            `json:"token"`
	Data         map[string]string `json:"data,omitempty"`
	Notification struct {
		Title string `json:"title"`
		Body  string `json:"body"`
	} `json:"notification"`
	Android struct {
		CollapseKey  string `json:"collapse_key"`
		Priority     string `json:"priority"`
		TTL          string `json:"ttl"`
		Notification struct {
			Tag      string `json:"tag"`
			Priority string `json:"notification_priority"`
			Sound    bool   `json:"default_sound"`
		} `json:"notification"`
	} `json:"android"`
	APNS struct {
		Headers map[string]string `json:"headers"`
		Payload struct {
			APS struct {
				Alert struct {
					Title string `json:"title"`
					Body  string `json:"body"`
				} `json:"alert"`
				Sound string `json:"sound,omitempty"`
				Level string `json:"interruption-level,omitempty"`
			} `json:"aps"`
		} `json:"payload"`
	} `json:"apns"`
}

// Limits of the vendors.
const (
	maxTTL      = 28 * 24 * 3600
	maxCollapse = 64
)

// fault names the first member that the vendor would refuse; "" if there is none.
func (m Message) fault() string {
	seconds, err := strconv.ParseFloat(strings.TrimSuffix(m.Android.TTL, "s"), 64)
	expires, expErr := strconv.ParseInt(m.APNS.Headers["apns-expiration"], 10, 64)
	switch {
	case len(m.Token) < 16 || strings.ContainsAny(m.Token, " \t\n"):
		return "message.token"
	case m.Notification.Title == "" && m.Notification.Body == "" && len(m.Data) == 0:
		return "message"
	case m.Android.TTL != "" && (err != nil || !strings.HasSuffix(m.Android.TTL, "s") || seconds < 0 || seconds > maxTTL):
		return "message.android.ttl"
	case m.Android.Priority != "" && m.Android.Priority != "normal" && m.Android.Priority != "high":
		return "message.android.priority"
	case len(m.APNS.Headers["apns-collapse-id"]) > maxCollapse:
		return "message.apns.headers"
	case m.APNS.Headers["apns-expiration"] != "" && (expErr != nil || expires < 0):
		return "message.apns.headers"
	}
	for name := range m.Data {
		if name == "from" || strings.HasPrefix(name, "google") || strings.HasPrefix(name, "gcm") {
			return "message.data"
		}
	}
	return ""
}
