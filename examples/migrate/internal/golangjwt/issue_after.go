package golangjwt

import (
	"context"

	"github.com/hybridtoken/hybridtoken/token/issue"
)

// IssueAfter issues with this library.
func IssueAfter(ctx context.Context, issuer *issue.Issuer, user, session string) (string, error) {
	issued, err := issuer.Issue(ctx, issue.Request{
		Subject: user, Client: "web", Session: session, Audience: []string{"orders"},
	})
	if err != nil {
		return "", err
	}
	return issued.Raw(), nil
}
