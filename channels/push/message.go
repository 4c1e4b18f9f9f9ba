package push

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"firebase.google.com/go/v4/messaging"

	"assent/channels"
)

// Lives of a message at the provider. FCM keeps nothing longer than four weeks.
const (
	maxLife    = 28 * 24 * time.Hour
	closedLife = time.Hour // the word that nothing is left to do may come to a device that was away
)

// maxCollapse is the longest apns-collapse-id.
const maxCollapse = 64

// idOf is the opaque id that goes with a message: of a request the handle of its link, which grants nothing and opens the
// request after sign-in. Messages without a link carry what they are collapsed by.
func idOf(m channels.Message) string {
	if m.URL == "" {
		return m.Tag
	}
	return m.URL[strings.LastIndexByte(m.URL, '/')+1:]
}

// compose writes a message for both kinds of devices. What it says beside the alert is what kind of message it is and an
// id: whatever else the app shows, it fetches after sign-in.
func compose(token string, m channels.Message, id string, now time.Time) (*messaging.Message, error) {
	life := min(m.Expires.Sub(now), maxLife).Truncate(time.Second)
	ends := now.Add(life)
	if m.Kind == channels.KindClosed {
		life, ends = closedLife, now.Add(closedLife)
	}
	if life <= 0 {
		return nil, errors.New("message is over")
	}
	if len(m.Tag) > maxCollapse {
		return nil, errors.New("tag is too long")
	}
	return &messaging.Message{
		Token:        token,
		Notification: &messaging.Notification{Title: m.Title, Body: m.Text},
		Data:         map[string]string{"kind": string(m.Kind), "id": id},
		Android:      android(m, life),
		APNS:         apns(m, ends),
	}, nil
}

// android wakes the device for what is worth it. The tag makes a message take the place of the one on the screen, the
// collapse key that of the one that still waits for the device.
func android(m channels.Message, life time.Duration) *messaging.AndroidConfig {
	c := &messaging.AndroidConfig{Priority: "high", TTL: &life, CollapseKey: m.Tag,
		Notification: &messaging.AndroidNotification{Tag: m.Tag, DefaultSound: true, Priority: messaging.PriorityHigh}}
	if m.Kind == channels.KindClosed {
		c.Priority = "normal"
		c.Notification.DefaultSound, c.Notification.Priority = false, messaging.PriorityMin
	}
	return c
}

// apns is the same for Apple's devices, where the collapse id does both. A message without a sound, and passive, changes
// what the screen shows and does not light it.
func apns(m channels.Message, ends time.Time) *messaging.APNSConfig {
	headers := map[string]string{"apns-push-type": "alert", "apns-priority": "10", "apns-collapse-id": m.Tag,
		"apns-expiration": strconv.FormatInt(ends.Unix(), 10)}
	aps := &messaging.Aps{Alert: &messaging.ApsAlert{Title: m.Title, Body: m.Text}, Sound: "default"}
	if m.Kind == channels.KindClosed {
		headers["apns-priority"] = "5"
		aps.Sound = ""
		aps.CustomData = map[string]any{"interruption-level": "passive"}
	}
	return &messaging.APNSConfig{Headers: headers, Payload: &messaging.APNSPayload{Aps: aps}}
}
