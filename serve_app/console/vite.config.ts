import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// `npm run dev` and `npm run preview` show the console over a service that runs already.
const service = process.env.FACE_API_URL ?? 'http://127.0.0.1:8000'
const proxy = { '^/(api|docs|health|livez|openapi.json)': service }

export default defineConfig({
  base: '/console/',
  plugins: [svelte()],
  server: { proxy },
  preview: { proxy },
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
})
