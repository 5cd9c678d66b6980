package token_test

import (
	"context"
	"time"
)

// background is what main has.
func background() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}
