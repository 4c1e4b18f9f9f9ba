package webapp

// report denies a request and says that it is suspicious: its agent is shut out until somebody has looked. As a denial it
// takes any sign-in that shows the page, and no proof of what was read.
func (h *Handler) report(v *visit) (answer, error) {
	r, values, err := h.acted(v, "digest", "locale", "choice")
	if err != nil {
		return answer{}, err
	}
	_, err = h.Desk.Report(v.Context(), r.ID, v.answerOf(values))
	return h.decided(v, r, values, err)
}
