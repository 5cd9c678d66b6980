package main

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/token"
)

//go:embed pages static
var files embed.FS

var templates = template.Must(template.ParseFS(files, "pages/*.html"))

// A shop is the website.
type shop struct {
	*web.Browser
	sessions *refresh.Manager
	orders   string // URL of the service
}

func (s *shop) handler(keys http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/session/", s.Handler()) // takes the forms that log out: this device, another, all others
	mux.HandleFunc("GET /login", s.form("login"))
	mux.Handle("POST /login", s.GuardLogin(http.HandlerFunc(s.login)))
	mux.Handle("GET /{$}", s.Middleware(http.HandlerFunc(s.home)))
	mux.Handle("GET /devices", s.Middleware(http.HandlerFunc(s.devices)))
	mux.Handle("GET /password", s.Middleware(s.form("password")))
	mux.Handle("POST /password", s.Middleware(http.HandlerFunc(s.password)))
	mux.Handle("GET /static/", http.FileServerFS(files))
	mux.Handle("GET /.well-known/jwks.json", keys)
	return http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		mux.ServeHTTP(w, r)
	}), 64<<10)
}

// A page is what a template shows.
type page struct {
	Name, Alert         string
	User, Session, CSRF string // of who is logged in
	Form                url.Values
	ReturnTo            string
	Orders              []order
	Devices             []refresh.Session
}

func (s *shop) show(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	if claims, ok := token.FromContext(r.Context()); ok {
		p.User, p.Session, p.CSRF = claims.Subject(), claims.SessionID(), s.CSRFToken(r)
	}
	p.Name, p.ReturnTo, p.Form = name, web.ReturnPath(r.FormValue("return_to")), r.Form
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := templates.ExecuteTemplate(w, "frame.html", p); err != nil {
		log.Error("page", "error", err)
	}
}

func (s *shop) form(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.show(w, r, http.StatusOK, name, page{}) }
}

func (s *shop) login(w http.ResponseWriter, r *http.Request) {
	began, name, password := time.Now(), r.PostFormValue("name"), r.PostFormValue("password")
	check := func(context.Context) error {
		if want, ok := users.Load(name); !ok || want != password {
			return errPassword
		}
		return nil
	}
	err := check(r.Context())
	if err == nil {
		_, err = s.Login(w, r, refresh.Login{Subject: name, Audience: []string{"shop", "orders"}, AuthTime: began, Recheck: check})
	}
	switch {
	case err == nil:
		http.Redirect(w, r, web.ReturnPath(r.FormValue("return_to")), http.StatusSeeOther)
	case errors.Is(err, errPassword), errors.Is(err, refresh.ErrSuperseded): // the latter: the password is another by now
		s.show(w, r, http.StatusUnprocessableEntity, "login", page{Alert: "This name and password do not go together."})
	default:
		web.Error(w, r, err)
	}
}

var errPassword = errors.New("wrong name or password")

func (s *shop) home(w http.ResponseWriter, r *http.Request) {
	orders, err := fetchOrders(r.Context(), s.orders, s.AccessToken(r))
	if err != nil {
		log.Error("home", "error", err)
		s.show(w, r, http.StatusServiceUnavailable, "home", page{Alert: "Your orders cannot be shown now. Try again in a moment."})
		return
	}
	s.show(w, r, http.StatusOK, "home", page{Orders: orders})
}

func (s *shop) devices(w http.ResponseWriter, r *http.Request) {
	claims, _ := token.FromContext(r.Context())
	devices, err := s.sessions.Sessions(r.Context(), claims.Subject())
	if err != nil {
		web.Error(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "devices", page{Devices: devices})
}

func (s *shop) password(w http.ResponseWriter, r *http.Request) {
	claims, _ := token.FromContext(r.Context())
	current, fresh, alert := r.PostFormValue("current"), r.PostFormValue("new"), ""
	switch {
	case throttle(r) > 0:
		alert = "Too many attempts. Try again in a minute."
	case len(fresh) < 8:
		alert = "The new password is too short: it takes 8 characters or more."
	case !users.CompareAndSwap(claims.Subject(), current, fresh):
		alert = "That is not your current password."
	}
	if alert != "" {
		s.show(w, r, http.StatusUnprocessableEntity, "password", page{Alert: alert})
	} else if _, err := s.LogoutOthers(w, r, refresh.Because("password change")); err != nil {
		web.Error(w, r, err)
	} else {
		http.Redirect(w, r, "/devices?said=password", http.StatusSeeOther)
	}
}
