import './theme.css'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode, useLayoutEffect } from 'react'
import { createRoot } from 'react-dom/client'
import { ApiError } from './api/client'
import { TipProvider } from './components/Button'
import { router } from './router'
import { useDark } from './state/preferences'
import { useLocale } from './state/texts'

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // A window that has been asked for is asked again by Refresh, not by age.
      staleTime: 60_000,
      refetchOnWindowFocus: false,
      // What the server understood and refused stays refused.
      retry: (count, error) => count < 1 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
      retryDelay: 400,
    },
  },
})

function App() {
  const dark = useDark()
  const locale = useLocale()
  useLayoutEffect(() => {
    document.documentElement.dataset.theme = dark ? 'dark' : 'light'
  }, [dark])
  useLayoutEffect(() => {
    document.documentElement.lang = locale
  }, [locale])
  return (
    <TipProvider>
      <RouterProvider router={router} />
    </TipProvider>
  )
}

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <App />
    </QueryClientProvider>
  </StrictMode>,
)
