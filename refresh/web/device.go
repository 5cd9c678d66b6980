package web

import "strings"

// Programs say many names, those that they want to be taken for behind their own: the first of a
// list that is found is the one.
var (
	browserNames = [][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"Chrome/", "Chrome"}, {"CriOS/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
	}
	systemNames = [][2]string{
		{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// deviceLabel is what a page of devices calls a browser, by the User-Agent that it sends, such as
// "Firefox on Linux"; empty where that names nothing that people know. It proves nothing.
func deviceLabel(userAgent string) string {
	browser, system := firstOf(browserNames, userAgent), firstOf(systemNames, userAgent)
	if browser == "" || system == "" {
		return browser + system
	}
	return browser + " on " + system
}

func firstOf(names [][2]string, s string) string {
	for _, n := range names {
		if strings.Contains(s, n[0]) {
			return n[1]
		}
	}
	return ""
}
