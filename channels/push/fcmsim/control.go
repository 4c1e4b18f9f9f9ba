package fcmsim

import (
	"encoding/json"
	"net/http"
)

// control serves what tests in other processes and dev mode need:
//
//	GET  /control/messages              what the provider has
//	POST /control/behave {"token", …}   a [Behaviour]; without "token" for all devices
func (s *Server) control(mux *http.ServeMux) {
	mux.HandleFunc("GET /control/messages", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.Sent())
	})
	mux.HandleFunc("POST /control/behave", func(w http.ResponseWriter, r *http.Request) {
		var order struct {
			Token string `json:"token"`
			Behaviour
		}
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
		dec.DisallowUnknownFields()
		if r.Header.Get("Content-Type") != "application/json" || dec.Decode(&order) != nil {
			http.Error(w, "body must be a JSON object with the documented members", http.StatusBadRequest)
			return
		}
		if order.Token != "" {
			s.BehaveTo(order.Token, order.Behaviour)
		} else {
			s.Behave(order.Behaviour)
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
