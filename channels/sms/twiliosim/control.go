package twiliosim

import (
	"encoding/json"
	"net/http"
)

// control serves what tests in other processes and dev mode need:
//
//	GET  /control/messages                     what the provider has
//	POST /control/behave {"to", …}             a [Behaviour]; without "to" for all numbers
//	POST /control/report {"sid", "status"}     one status callback
//	POST /control/inbound {"from", "body"}     one message from a person; "sid" repeats an earlier one
func (s *Server) control(mux *http.ServeMux) {
	mux.HandleFunc("GET /control/messages", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.Messages())
	})
	mux.HandleFunc("POST /control/behave", controlled(func(_ *http.Request, order struct {
		To string `json:"to"`
		Behaviour
	}) (int, error) {
		if order.To != "" {
			s.BehaveTo(order.To, order.Behaviour)
		} else {
			s.Behave(order.Behaviour)
		}
		return 0, nil
	}))
	mux.HandleFunc("POST /control/report", controlled(func(r *http.Request, order struct {
		SID    string `json:"sid"`
		Status string `json:"status"`
	}) (int, error) {
		return s.Report(r.Context(), order.SID, order.Status)
	}))
	mux.HandleFunc("POST /control/inbound", controlled(func(r *http.Request, order struct {
		SID  string `json:"sid"`
		From string `json:"from"`
		Body string `json:"body"`
	}) (int, error) {
		if order.SID == "" {
			order.SID = newSID()
		}
		return s.inboundAs(r.Context(), order.SID, order.From, order.Body)
	}))
}

// controlled reads an order and answers with what came of it.
func controlled[T any](obey func(*http.Request, T) (int, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var order T
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
		dec.DisallowUnknownFields()
		if r.Header.Get("Content-Type") != "application/json" || dec.Decode(&order) != nil {
			http.Error(w, "body must be a JSON object with the documented members", http.StatusBadRequest)
			return
		}
		answer, err := obey(r, order)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]int{"answer": answer})
	}
}
