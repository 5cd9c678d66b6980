package refresh

// Members of the families of errors, which other packages know by what [Outcomes] counts.
var (
	ErrTooLate = errTooLate
	ErrUnknown = errUnknown
	ErrBusy    = errBusy
	ErrClock   = errClock
	ErrMint    = errMint
	ErrAsk     = errAsk
)
