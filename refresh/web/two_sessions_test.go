package web_test

import "testing"

// A browser that two answers which crossed have left with a cookie of each of two sessions has both
// ended by a logout: nothing would name the other any more.
func TestLogoutOfTwoSessions(t *testing.T) {
	s := newShop(t)
	a, b := s.loggedIn(t), s.loggedIn(t)
	other := s.loggedIn(t)
	mixed := with("Cookie", "__Host-Http-session="+a.cookie("-session").Value+"; __Host-Http-session-refresh="+b.cookie("-refresh").Value)
	status(t, "logout", s.agent(t).post("/session/logout", mixed), 204)
	status(t, "of the access token", a.get("/page"), 401)
	status(t, "of the refresh token", b.post("/session/refresh"), 401)
	status(t, "another", other.get("/page"), 200)
}
