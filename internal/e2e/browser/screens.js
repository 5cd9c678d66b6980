(() => {
	// Is there anything of it to see?
	const shown = e => e.checkVisibility({opacityProperty: true, visibilityProperty: true}) && e.getClientRects().length > 0

	// How a person who mends the page finds the element.
	const name = e => {
		let s = '<' + e.localName
		for (const a of ['type', 'id', 'name', 'class', 'href', 'action']) if (e.getAttribute(a)) s += ` ${a}=${e.getAttribute(a)}`
		const text = (e.value && e.type !== 'password' && e.type !== 'hidden' && e.localName === 'input' ? '' : e.innerText || '').trim().replace(/\s+/g, ' ')
		return s + '>' + (text ? ` "${text.slice(0, 40)}"` : '')
	}

	// Any CSS colour as [red, green, blue, alpha], the first three of 255 and alpha of 1.
	const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true})
	const rgba = css => {
		canvas.clearRect(0, 0, 1, 1)
		canvas.fillStyle = css
		canvas.fillRect(0, 0, 1, 1)
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
		return [r, g, b, a / 255]
	}
	const over = (top, bottom) => {
		const a = top[3]
		return [0, 1, 2].map(i => top[i] * a + bottom[i] * (1 - a)).concat(1)
	}
	const luminance = c => {
		const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		return 0.2126 * r + 0.7152 * g + 0.0722 * b
	}
	const ratio = (a, b) => {
		const [x, y] = [luminance(a), luminance(b)]
		return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)
	}
	// What is behind an element's text, or null where a picture is.
	const behind = e => {
		const layers = []
		for (; e; e = e.parentElement) {
			const style = getComputedStyle(e)
			if (style.backgroundImage !== 'none') return null
			const c = rgba(style.backgroundColor)
			layers.push(c)
			if (c[3] === 1) break
		}
		return layers.reverse().reduce((below, c) => over(c, below), rgba('Canvas'))
	}
	// How much of an element shows, by its own opacity and that of all that it is in.
	const opacity = e => {
		let o = 1
		for (; e; e = e.parentElement) o *= Number(getComputedStyle(e).opacity)
		return o
	}

	const controls = () => [...document.querySelectorAll(
		'a[href], button, input:not([type=hidden]), select, textarea, summary, iframe, [tabindex], [contenteditable]:not([contenteditable=false]), [onclick], [role=button], [role=link]')]
		.filter(e => !e.disabled && e.closest('fieldset:disabled, [inert]') === null && shown(e))
		// Of a group of radio buttons the Tab key reaches one, and the arrows the others.
		.filter((e, i, all) => e.type !== 'radio' || !all.slice(0, i).some(o => o.type === 'radio' && o.name === e.name && o.form === e.form))

	const place = e => {
		const all = controls()
		const i = all.indexOf(e)
		if (i >= 0 || e?.type !== 'radio') return i
		return all.findIndex(o => o.type === 'radio' && o.name === e.name && o.form === e.form)
	}

	return {
		overflow() {
			const page = document.scrollingElement
			if (page.scrollWidth <= page.clientWidth) return []
			const wide = [...document.body.querySelectorAll('*')].filter(e => shown(e) && e.getBoundingClientRect().right + scrollX > page.clientWidth + 0.5)
			// The innermost say it best.
			const inner = wide.filter(e => !wide.some(o => o !== e && e.contains(o)))
			return [`the page is ${page.scrollWidth} px wide in a window of ${page.clientWidth} px`]
				.concat(inner.slice(0, 5).map(e => `${name(e)} reaches to ${Math.ceil(e.getBoundingClientRect().right + scrollX)} px`))
		},

		contrast(least) {
			const wrong = []
			const judge = (e, css, what) => {
				const back = behind(e)
				if (!back) {
					wrong.push(`${what} of ${name(e)} is over a picture`)
					return
				}
				const c = rgba(css)
				c[3] *= opacity(e)
				const r = ratio(over(c, back), back)
				if (r < least) wrong.push(`${what} of ${name(e)} has a contrast of ${r.toFixed(2)}:1, less than ${least}:1`)
			}
			const seen = new Set()
			const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
			while (walker.nextNode()) {
				const e = walker.currentNode.parentElement
				if (!walker.currentNode.data.trim() || seen.has(e) || !e.checkVisibility({visibilityProperty: true}) || !e.getClientRects().length) continue
				if (['SCRIPT', 'STYLE', 'TEMPLATE'].includes(e.tagName) || e.closest(':disabled')) continue
				seen.add(e)
				judge(e, getComputedStyle(e).color, 'the text')
			}
			for (const e of document.querySelectorAll('input:not([type=hidden]), textarea, select')) {
				if (!shown(e) || e.disabled) continue
				judge(e, getComputedStyle(e).color, 'what is typed in, or the label,')
				if (e.placeholder) judge(e, getComputedStyle(e, '::placeholder').color, 'the placeholder')
			}
			return wrong
		},

		unlabelled() {
			const text = e => (e?.innerText || e?.getAttribute('alt') || '').trim()
			return controls().filter(e => {
				if (e.getAttribute('aria-label')?.trim()) return false
				if ((e.getAttribute('aria-labelledby') || '').split(/\s+/).some(id => text(document.getElementById(id)))) return false
				if ([...(e.labels || [])].some(l => text(l))) return false
				if (['submit', 'reset', 'button'].includes(e.type) && e.localName === 'input') return !e.value && e.type === 'button'
				if (['input', 'select', 'textarea', 'iframe'].includes(e.localName)) return !e.title.trim()
				return !text(e) && ![...e.querySelectorAll('img[alt]')].some(i => i.alt.trim()) && !e.title.trim()
			}).map(e => `${name(e)} has no label`)
		},

		controls: () => {
			if (document.activeElement !== document.body) {
				// The Tab key would go on from the field that had the focus when the page was loaded.
				document.activeElement?.blur()
				document.body.tabIndex = -1
				document.body.focus({preventScroll: true})
				document.body.removeAttribute('tabindex')
			}
			// Nothing moves while pictures are compared. A style sheet made so passes any
			// Content-Security-Policy.
			const still = new CSSStyleSheet()
			still.replaceSync('*, ::before, ::after { transition: none !important; animation: none !important; caret-color: transparent !important; scroll-behavior: auto !important }')
			document.adoptedStyleSheets = [...document.adoptedStyleSheets, still]
			return controls().map(name)
		},
		focused: () => place(document.activeElement),

		// The place of the focused element on the page, and what may be drawn around it.
		box() {
			const r = document.activeElement.getBoundingClientRect()
			const around = 8
			const x = Math.max(0, r.x + scrollX - around), y = Math.max(0, r.y + scrollY - around)
			return {X: x, Y: y, Width: r.width + 2 * around, Height: r.height + 2 * around}
		},
		hide() {
			window.lastFocused = document.activeElement
			document.activeElement.blur()
			return true
		},
		restore() {
			window.lastFocused.focus({preventScroll: true, focusVisible: true})
			return true
		},
	}
})()
