package main

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // JSON of what we have made ourselves
	}
	return v
}
